"""Half-lives from gates that are known."""

import math

import pytest
import torch

from tests.probes.memory.models import tiny
from workbench.probes.memory import gate_half_lives


def test_retnet_heads_have_the_half_lives_of_their_fixed_decays() -> None:
    model = tiny("retnet", layers=1)
    found = gate_half_lives(model, torch.randint(40, (2, 12)))
    # Sun et al. 2023, equation 8: gamma = 1 - 2 ** (-5 - head).
    for head, row in enumerate(found.to_dict("records")):
        expected = math.log(2) / -math.log(1 - 2.0 ** (-5 - head))
        for name in ("half_life", "shortest", "longest", "fast", "slow"):
            assert row[name] == pytest.approx(expected, rel=1e-6)


def test_a_gate_that_changes_counts_by_its_mean_logarithm() -> None:
    model = tiny("mamba2", layers=1)
    tokens = torch.randint(40, (1, 10))
    decays = model.run_with_cache(tokens, "blocks.0.mixer.hook_log_decay")[1]["log_decay", 0]
    found = gate_half_lives(model, tokens)
    product = decays[0].detach().exp().prod(0)
    for head, row in enumerate(found.to_dict("records")):
        assert 0.5 ** (10 / row["half_life"]) == pytest.approx(product[head].item(), rel=1e-9)
        assert row["fast"] <= row["half_life"] <= row["slow"]


def test_pads_do_not_count_and_softmax_forgets_nothing() -> None:
    model = tiny("mamba2", layers=1)
    tokens = torch.randint(1, 40, (1, 6))
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), tokens], 1)
    mask = torch.tensor([[0] * 3 + [1] * 6])
    alone, beside = gate_half_lives(model, tokens), gate_half_lives(model, padded, attention_mask=mask)
    assert beside["half_life"].tolist() == pytest.approx(alone["half_life"].tolist(), rel=1e-9)
    assert (gate_half_lives(tiny("attention"), tokens)["half_life"] == math.inf).all()


def test_mamba_channels_report_their_state_dimensions() -> None:
    found = gate_half_lives(tiny("mamba", layers=1), torch.randint(40, (1, 8)))
    assert (found["shortest"] < found["half_life"]).all() and (found["half_life"] < found["longest"]).all()
    # A starts as -1 ... -K (Gu and Dao 2023), so the slowest dimension lives K times as long as the fastest.
    assert (found["longest"] / found["shortest"]).tolist() == pytest.approx([16.0] * len(found), rel=1e-4)
