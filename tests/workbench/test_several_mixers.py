"""A head of a block's second mixer is named, ablated and cut off as one of the first is, and nothing else with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.families.case import batch_of_tokens, build, hooked
from tests.families.cases import every_case
from workbench import Ablate, Knockout, Site
from workbench.attribution import rollout
from workbench.errors import InputError
from workbench.sites import as_sites

CASES = every_case()
HYBRIDS = pytest.mark.parametrize(("name", "layer"), [("falcon_h1", 1), ("zamba", 3)])


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("L5.mixer1H0", Site(5, "heads", 0, 1, 1)),
        ("L5.mixer12H0:64", Site.heads(5, 0, 64, mixer=12)),
        ("L5.mixer0", Site(5, "mixer", mixer=0)),
        ("L5.mixer1", Site(5, "mixer", mixer=1)),
    ],
)
def test_a_site_names_a_mixer_as_its_hooks_do(text: str, site: Site) -> None:
    assert Site.parse(text) == site
    assert str(site) == text


def test_heads_without_a_mixer_are_the_first_ones() -> None:
    assert Site.parse("L5.mixer0H3") == Site.parse("L5H3") == Site.heads(5, 3) == Site(5, "heads", 3, 4)
    assert str(Site.heads(5, 3, mixer=0)) == "L5H3"
    shuffled = ["L1H2", "L1.mixer1H0", "L1H0", "L1.mixer1", "L1.mixer", "L0.mixer1H5"]
    assert [str(site) for site in sorted(map(Site.parse, shuffled))] == [
        "L0.mixer1H5",
        "L1H0",
        "L1H2",
        "L1.mixer1H0",
        "L1.mixer",
        "L1.mixer1",
    ]
    for text in ("L1.mixerH0", "L1.mlp1", "L1.mixer1.H0"):
        with pytest.raises(InputError, match="is no site"):
            Site.parse(text)
    with pytest.raises(InputError, match="a mlp has no 1"):
        Site(1, "mlp", mixer=1)


def test_places_overlap_within_a_mixer_only() -> None:
    apart = ["L1H0", "L1.mixer1H0", "L1H2", "L1.mixer1H2", "L2.mixer0", "L2.mixer1H0", "L3.mixer0", "L3.mixer1"]
    assert [str(site) for site in as_sites(apart)] == apart
    for sites in (
        ["L1H0", "L1.mixer1H0:3", "L1.mixer1H2"],
        ["L1H0", "L1.mixer1H0", "L1.mixer1"],
        ["L1.mixer", "L1.mixer1"],
        ["L1.mixer", "L1.mixer1H0"],
        ["L1", "L1.mixer1H0"],
    ):
        with pytest.raises(InputError, match="overlaps"):
            as_sites(sites)


@HYBRIDS
def test_an_ablated_head_of_the_second_mixer_writes_nothing_and_no_other_head_changes(name: str, layer: int) -> None:
    tokens, mask = batch_of_tokens()
    with hooked(build(CASES[name], torch.float64)) as model, torch.no_grad():
        heads = model.mixer(layer, 1).n_heads

        def silence(z: Tensor, hook: Any) -> Tensor:
            assert z.shape[2] == heads != model.mixer(layer, 0).n_heads
            return z.index_fill(2, torch.tensor([1]), 0.0)

        z = f"blocks.{layer}.mixer1.hook_z"
        expected = model.run_with_hooks(tokens, fwd_hooks=[(z, silence)], attention_mask=mask)
        by_site = Ablate(f"L{layer}.mixer1H1").hooks(model)
        first = Ablate(f"L{layer}H1").hooks(model)
        assert torch.equal(model.run_with_hooks(tokens, fwd_hooks=by_site, attention_mask=mask), expected)
        assert (model.run_with_hooks(tokens, fwd_hooks=first, attention_mask=mask) - expected).abs().max() > 1e-6
        assert (model(tokens, attention_mask=mask) - expected).abs().max() > 1e-6
        assert Site.parse(f"L{layer}.mixer1").hook_names(model) == [f"blocks.{layer}.mixer1.hook_out"]
        with pytest.raises(InputError, match=rf"head {heads}, and mixer 1 of layer {layer} has heads 0\.\.{heads - 1}"):
            Site.heads(layer, heads, mixer=1).hook_names(model)
        with pytest.raises(InputError, match=f"Mixer 2 is out of range: layer {layer}"):
            Site.parse(f"L{layer}.mixer2").hook_names(model)


@HYBRIDS
def test_a_knockout_of_heads_leaves_the_other_mixer_alone(name: str, layer: int) -> None:
    tokens, _ = batch_of_tokens()
    with hooked(build(CASES[name], torch.float64)) as model, torch.no_grad():
        patterns = [f"blocks.{layer}.{part}.hook_pattern" for part in ("mixer", "mixer1")]
        intact = [model.run_with_cache(tokens, pattern)[1][pattern] for pattern in patterns[1:]]

        def run(**options: Any) -> tuple[Tensor, list[int]]:
            with model.knocked_out(Knockout(2, slice(5, None), layers=[layer], **options)):
                cut = [len(model.mixer(layer, index).cuts) for index in (0, 1)]
                return model.run_with_cache(tokens, patterns[1])[1][patterns[1]], cut

        named, cut = run(mixer=1, heads=[2])
        assert cut == [0, 1]
        expected = intact[0].clone()
        expected[:, 2, 5:, 2] = 0
        expected[:, 2] /= expected[:, 2].sum(-1, keepdim=True)
        torch.testing.assert_close(named, expected)
        for options, which in (({"heads": [2]}, [1, 0]), ({"mixer": 0}, [1, 0])):
            unnamed, cut = run(**options)
            assert cut == which
            if name == "falcon_h1":  # side by side; Zamba's attention runs before its Mamba
                torch.testing.assert_close(unnamed, intact[0], atol=0, rtol=0)
        every, cut = run()
        assert cut == [1, 1] and float(every[:, :, 5:, 2].abs().max()) == 0


def test_a_knockout_of_one_mixer_changes_what_that_mixer_reads_alone() -> None:
    tokens, _ = batch_of_tokens()
    names = ["blocks.1.mixer.hook_z", "blocks.1.mixer1.hook_z"]
    with hooked(build(CASES["falcon_h1"], torch.float64)) as model, torch.no_grad():
        _, intact = model.run_with_cache(tokens, names)
        for index, name in enumerate(names):
            knockout = Knockout.pairs([(6, 2)], layers=1, mixer=index, heads=0)
            with model.knocked_out(knockout):
                _, cut = model.run_with_cache(tokens, names)
            changed = [((cut[each] - intact[each]).abs() > 1e-9).any(-1).any(0).nonzero().tolist() for each in names]
            assert changed[index] == [[6, 0]] and changed[1 - index] == [], name
            assert ("mixer 1" in str(knockout)) == bool(index)


def test_a_mixer_that_is_not_there_is_refused_by_every_reader() -> None:
    tokens, _ = batch_of_tokens()
    with hooked(build(CASES["zamba"])) as model:
        with pytest.raises(InputError, match="Mixer 1 is out of range: layer 0"):
            next(model.implicit_attentions(tokens, [0, 1], mixer=1))
        with pytest.raises(InputError, match="have no mixer 2"), model.knocked_out(Knockout(1, 2, mixer=2)):
            pass
        with pytest.raises(InputError, match="Head 4 is out of range: mixer 1 of layer 3 has heads 0 to 3"):
            model.head_index(3, 4, mixer=1)
        assert model.head_index(3, -1, mixer=1) == 3 and model.head_index(3, 4) == 4
        with pytest.raises(InputError, match=r"Mixer 1 of layer 3 of .* keeps no recurrent state"):
            model.recurrent_states(tokens, 3, mixer=1)


def test_one_pass_yields_every_mixer_in_the_order_they_run() -> None:
    tokens, _ = batch_of_tokens()
    with hooked(build(CASES["zamba"])) as model, torch.no_grad():
        assert [(mixer.layer, mixer.index) for mixer in model.mixers] == [
            (0, 0),
            (1, 0),
            (1, 1),
            (2, 0),
            (3, 0),
            (3, 1),
        ]
        found = {}
        for layer, attention in model.implicit_attentions(tokens, mixer=None):
            found[layer, attention.mixer] = attention.dense()
        assert list(found) == [(0, 0), (1, 1), (1, 0), (2, 0), (3, 1), (3, 0)]
        for (layer, mixer), dense in found.items():
            torch.testing.assert_close(dense, model.implicit_attention(tokens, layer, mixer=mixer).dense())


@pytest.mark.parametrize("name", ["falcon_h1", "zamba"])
def test_rollout_averages_mixers_side_by_side_and_puts_one_that_feeds_another_before_it(name: str) -> None:
    tokens, _ = batch_of_tokens()
    with hooked(build(CASES[name])) as model, torch.no_grad():
        eye = torch.eye(tokens.shape[1])
        expected = eye
        for layer, block in enumerate(model.layout.blocks):
            means = []
            for mixer in range(len(block.mixers)):
                mean = model.implicit_attention(tokens, layer, mixer=mixer).dense().abs().mean(1)
                means.append(mean / mean.sum(-1, keepdim=True))
            if name == "zamba" and len(means) == 2:
                recurrent, attention = means
                step = recurrent @ (attention + eye) / 2
            else:
                step = torch.stack(means).mean(0)
            expected = (step + eye) / 2 @ expected
        torch.testing.assert_close(rollout(model, tokens, None), expected[:, -1], atol=1e-5, rtol=1e-4)
