"""The memory function against matrices that are written down, and against the whole Jacobian."""

import pytest
import torch

from tests.probes.memory.models import linear_rnn, tiny
from workbench.attention.jacobian import jacobian
from workbench.errors import InputError
from workbench.probes.memory import fit_decay, linear_memory, memory_function


def test_a_linear_recurrence_remembers_as_the_powers_of_its_matrix() -> None:
    transition = torch.tensor([[0.6, 0.2, 0.0], [0.1, 0.5, 0.1], [0.0, 0.3, 0.4]], dtype=torch.float64)
    inputs = torch.rand(3, 2, dtype=torch.float64)
    model = linear_rnn(transition, inputs, torch.rand(10, 2, dtype=torch.float64))
    found = memory_function(model, torch.randint(10, (2, 12)), layer=0, probes=None)
    expected = [torch.linalg.matrix_norm(torch.linalg.matrix_power(transition, k) @ inputs) for k in range(12)]
    assert found["value"].tolist() == pytest.approx([float(norm) for norm in expected], rel=1e-10)
    assert found["relative"][0] == 1


def test_its_tail_decays_at_the_rate_of_the_largest_eigenvalue() -> None:
    transition = torch.tensor([[0.8, 0.1], [0.0, 0.3]], dtype=torch.float64)
    model = linear_rnn(transition, torch.ones(2, 1, dtype=torch.float64), torch.rand(5, 1, dtype=torch.float64))
    lags = list(range(20, 40))
    found = memory_function(model, torch.randint(5, (1, 41)), layer=0, lags=lags, probes=None)
    fit = fit_decay(torch.tensor(lags, dtype=torch.float64), torch.tensor(found["value"].to_numpy()))
    assert fit.rate == pytest.approx(-torch.tensor(0.8).log().item(), rel=1e-4)


def test_random_vectors_estimate_the_norm_without_bias() -> None:
    model = tiny("gated_delta")
    tokens = torch.randint(40, (1, 10))
    exact = memory_function(model, tokens, probes=None)["value"]
    many = memory_function(model, tokens, probes=200, seed=3)["value"]
    assert many.tolist() == pytest.approx(exact.tolist(), rel=0.15)
    assert memory_function(model, tokens, seed=1)["value"].tolist() != memory_function(model, tokens)["value"].tolist()


def test_a_mixer_is_seen_alone_and_through_its_gates() -> None:
    model = tiny("lstm", units=8)
    tokens = torch.randint(40, (1, 7))
    hidden = model.run_with_cache(tokens)[1]["in", 1]
    whole = jacobian(model.mixer(1), hidden, 6)[0, 0]
    found = memory_function(model, tokens, layer=1, probes=None)
    expected = [float(torch.linalg.matrix_norm(whole[6 - k])) for k in range(7)]
    assert found["value"].tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mixer", ["attention", "mamba", "gru"])
def test_every_family_has_one(mixer: str) -> None:
    found = memory_function(tiny(mixer), torch.randint(40, (2, 6)), lags=[0, 1, 5])
    assert found["lag"].tolist() == [0, 1, 5] and (found["value"] > 0).all()
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()


def test_implicit_attention_gives_the_linear_one() -> None:
    model = tiny("retnet", layers=1)
    tokens = torch.randint(40, (2, 9))
    dense = model.implicit_attention(tokens, 0).dense()
    found = linear_memory(model, tokens, 0, lags=[0, 3, 8])
    for row in found.to_dict("records"):
        entries = dense[:, :, 8, 8 - int(row["lag"])]
        assert row["value"] == pytest.approx(entries.square().mean(1).sqrt().mean().item(), rel=1e-9)


def test_bad_lags_and_padded_texts_are_refused() -> None:
    model = tiny("attention", layers=1)
    tokens = torch.randint(40, (1, 6))
    with pytest.raises(InputError, match="lags from 0 to 5"):
        memory_function(model, tokens, lags=[6])
    with pytest.raises(InputError, match="increasing"):
        memory_function(model, tokens, lags=[2, 1])
    with pytest.raises(InputError, match="at least one random vector"):
        memory_function(model, tokens, probes=0)
