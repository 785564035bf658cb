"""Blocks with several mixers: every mixer's heads are scored, named, ablated and compared with their like."""

from collections import Counter

import pytest
import torch

from tests.families.case import build, hooked
from tests.families.cases import every_case
from workbench.errors import InputError
from workbench.interventions import Ablate
from workbench.probes import ablate_top_k, find_heads, sites_of
from workbench.probes.causal import random_sets
from workbench.sites import Site
from workbench.tasks import repeated_random_tokens

BLOCK = 8
QUICK = {"block": BLOCK, "batch": 2, "seeds": (0,)}


@pytest.mark.parametrize("name", ["falcon_h1", "zamba"])
def test_the_scores_of_every_mixer_are_those_of_its_own_matrix(name: str) -> None:
    with hooked(build(every_case()[name])) as model, torch.no_grad():
        table = find_heads(model, "induction", scope="core", **QUICK).set_index(["layer", "mixer", "head"])
        tokens = repeated_random_tokens(model, BLOCK, batch=2, seed=0).tokens
        expected = {}
        for layer, block in enumerate(model.layout.blocks):
            for mixer in range(len(block.mixers)):
                dense = model.implicit_attention(tokens, layer, mixer=mixer).dense()
                # The two kinds of share: a softmax row sums to 1, a signed row is compared by its energy.
                share = dense if block.family.split("+")[mixer] == "softmax" else dense.square()
                share = share / share.sum(-1, keepdim=True)
                at_source = torch.stack([share[:, :, t, t - BLOCK + 1] for t in range(BLOCK, 2 * BLOCK)]).mean((0, 1))
                expected |= {(layer, mixer, head): float(score) for head, score in enumerate(at_source)}
    assert {mixer for _, mixer, _ in expected} == {0, 1}
    assert set(table.index) == set(expected)
    for place, score in expected.items():
        assert table.loc[place, "score"] == pytest.approx(score, abs=1e-5)


def test_a_mixer_is_named_only_where_it_is_not_the_first() -> None:
    with hooked(build(every_case()["falcon_h1"])) as model:
        table = find_heads(model, "induction", **QUICK).sort_values(["layer", "mixer", "head"])
        names = [f"L{layer}{part}H{head}" for layer in (0, 1) for part, n in PARTS for head in range(n)]
        assert list(table.site) == names
        assert [(site.layer, site.mixer, site.start) for site in sites_of(table)] == list(
            zip(table.layer, table.mixer, table["head"], strict=True)
        )
        assert set(zip(table.mixer, table.family, table.normalise, strict=True)) == {
            (0, "falcon_h1", "energy"),
            (1, "softmax", "mass"),
        }
        attention = find_heads(model, "induction", mixer=1, **QUICK)
        assert sorted(attention.site) == [name for name in names if "mixer1" in name]
        grouped = find_heads(model, "induction", mixer=0, layers=1, group=2, **QUICK)
        assert sorted(grouped.site) == ["L1H0:2", "L1H2:4", "L1H4:6"]
        with pytest.raises(InputError, match=r"Groups of 2 do not divide the 3 heads of mixer 1 of layer 0\."):
            find_heads(model, "induction", group=2, **QUICK)
        with pytest.raises(InputError, match=r"The layers of .* have no mixer 2\."):
            find_heads(model, "induction", mixer=2, **QUICK)


PARTS = (("", 6), (".mixer1", 3))


def test_a_layer_named_alone_has_all_of_its_mixers_looked_at() -> None:
    with hooked(build(every_case()["zamba"])) as model:
        table = find_heads(model, "previous_token", layers=[0, 1], **QUICK)
        assert Counter(zip(table.layer, table.mixer, strict=True)) == {(0, 0): 24, (1, 0): 24, (1, 1): 4}
        with pytest.raises(InputError, match=r"Mixer 1 is out of range: layer 0 of .* has 1"):
            find_heads(model, "previous_token", layers=[0, 1], mixer=1, **QUICK)


def test_random_sets_are_drawn_from_the_mixer_that_the_top_heads_are_in() -> None:
    top = [Site.parse(text) for text in ("L1.mixer1H0", "L1H3")]
    others = [Site.heads(layer, head, mixer=mixer) for layer in (1, 3) for mixer in (0, 1) for head in (1, 2)]
    for chosen in random_sets(top, others, draws=4, seed=0):
        assert Counter((site.layer, site.mixer) for site in chosen) == {(1, 1): 1, (1, 0): 1}
    few = [site for site in others if (site.layer, site.mixer) != (1, 1)]
    with pytest.warns(UserWarning, match="1 for mixer 1 of layer 1 from mixer 1 of layer 3"):
        drawn = random_sets(top, few, draws=4, seed=0)
    assert all(Counter((s.layer, s.mixer) for s in chosen) == {(3, 1): 1, (1, 0): 1} for chosen in drawn)


@torch.no_grad()
def test_the_causal_check_ablates_the_attention_heads_that_were_found() -> None:
    with hooked(build(every_case()["falcon_h1"])) as model:
        table = find_heads(model, "previous_token", mixer=1, **QUICK)
        result = ablate_top_k(model, table, 1, method="zero", block=BLOCK, batch=3, draws=2, seed=5)
        tokens = repeated_random_tokens(model, BLOCK, batch=3, seed=5).tokens
        hooks = Ablate(table.site[0]).hooks(model)
        assert [name for name, _ in hooks] == [f"blocks.{table.layer[0]}.mixer1.hook_z"]
        loss = model.run_with_hooks(tokens, fwd_hooks=hooks, return_type="loss", loss_per_token=True)
    assert result.loss_second[1] == pytest.approx(float(loss[:, BLOCK:].mean()), abs=1e-5)
    assert result.loss_second[1] != pytest.approx(result.loss_second[0], abs=1e-6)
