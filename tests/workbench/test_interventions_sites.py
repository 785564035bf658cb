import functools

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM

from tests.families.case import build, hooked
from tests.families.cases import every_case
from workbench.errors import InputError
from workbench.interventions import Ablate, Reference, permutation_in_one_cycle
from workbench.model import HookedModel
from workbench.sites import Site, as_sites


@functools.cache
def gpt2() -> HookedModel:
    torch.manual_seed(0)
    return HookedModel(GPT2LMHeadModel(GPT2Config(vocab_size=30, n_positions=16, n_embd=16, n_layer=2, n_head=4)))


@functools.cache
def mamba() -> HookedModel:
    torch.manual_seed(0)
    return HookedModel(MambaForCausalLM(MambaConfig(vocab_size=30, hidden_size=8, state_size=4, num_hidden_layers=2)))


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("L5H1", Site(5, "heads", 1, 2)),
        ("L0H0:64", Site(0, "heads", 0, 64)),
        ("L12.mixer", Site(12, "mixer")),
        ("L3.mlp", Site(3, "mlp")),
        ("L7", Site(7, "layer")),
    ],
)
def test_a_site_reads_as_it_is_written(text: str, site: Site) -> None:
    assert Site.parse(text) == site
    assert str(site) == text
    assert Site.parse(f" {text}\n") == site


@pytest.mark.parametrize(
    "text", ["", "5", "L", "LxH1", "L1H", "L1H2:", "L-1", "L1.attn", "L1H2.mlp", "L1H1 L2H2", "l1h1"]
)
def test_what_is_no_site_gets_a_sentence_with_the_spellings(text: str) -> None:
    with pytest.raises(InputError, match=r"is no site; write L5H1, L5H0:64, L5\.mixer, L5\.mlp or L5\."):
        Site.parse(text)


def test_ranges_without_heads_are_refused() -> None:
    with pytest.raises(InputError, match="Heads 3:3 of layer 1 are none"):
        Site.parse("L1H3:3")
    with pytest.raises(InputError, match="Only a site of heads"):
        Site(1, "mlp", 0, 3)
    with pytest.raises(InputError, match="count from 0"):
        Site(-1)


@pytest.mark.parametrize(
    ("model", "site", "sentence"),
    [
        (gpt2, "L2H0", "layer 2, and the model has layers 0..1"),
        (gpt2, "L1H4", "head 4, and layer 1 has heads 0..3"),
        (gpt2, "L1H2:6", "head 5, and layer 1 has heads 0..3"),
        (gpt2, "L9", "layer 9"),
        (mamba, "L0.mlp", "names an MLP, and layer 0 has none"),
        (mamba, "L1H16", "head 16, and layer 1 has heads 0..15"),
    ],
)
def test_a_site_the_model_lacks_gets_a_sentence(model, site: str, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=sentence):
        Ablate(site).hooks(model())


def test_a_layer_is_its_mixer_and_its_mlp_where_it_has_one() -> None:
    assert Site.parse("L1").hook_names(gpt2()) == ["blocks.1.mixer.hook_out", "blocks.1.hook_mlp_out"]
    assert Site.parse("L1").hook_names(mamba()) == ["blocks.1.mixer.hook_out"]


@pytest.mark.parametrize(
    "sites",
    [
        ["L1H1", "L1H0:3"],
        ["L1", "L1.mlp"],
        ["L1.mixer", "L1H0"],
        ["L0H0", "L0H0"],
        ["L2", "L2H5"],
        ["L3H4", "L3.mlp", "L3H9", "L3H2:5"],
        ["L1H0", "L1H7", "L1.mlp", "L1.mixer"],
    ],
)
def test_places_named_twice_are_refused(sites: list[str]) -> None:
    with pytest.raises(InputError, match="overlaps"):
        as_sites(sites)


def test_places_beside_each_other_are_not_the_same() -> None:
    sites = ["L1H0:2", "L1H2", "L1.mlp", "L2.mixer", "L2.mlp", "L3"]
    assert [str(site) for site in as_sites(sites)] == sites


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sites": []}, "nothing to ablate"),
        ({"method": "median"}, "'median'; there is: zero, mean, resample"),
        ({"method": "zero", "per_position": True}, "per_position belongs to mean"),
        ({"method": "zero", "reference": torch.zeros(1, 2)}, "Zero ablation takes no reference"),
        ({"method": "mean", "reference_mask": torch.ones(1, 2)}, "goes with reference tokens"),
    ],
)
def test_options_that_make_no_sense_get_a_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Ablate(**{"sites": "L0H0", **options})  # type: ignore[arg-type]


def test_a_run_that_does_not_fit_its_reference_gets_a_sentence() -> None:
    model, tokens = gpt2(), torch.randint(30, (3, 6))
    with pytest.raises(InputError, match="resample ablation needs the tokens"):
        Ablate("L0H0", "resample").hooks(model)
    with pytest.raises(InputError, match="One sequence cannot be resampled"):
        Ablate("L0H0", "resample").hooks(model, tokens[:1])
    with pytest.raises(InputError, match="reference has 6 positions and the run 4"):
        model.run_with_hooks(tokens[:, :4], fwd_hooks=Ablate("L0H0", "resample").hooks(model, tokens))
    with pytest.raises(InputError, match="run has 2 sequences and its reference 3"):
        model.run_with_hooks(tokens[:2], fwd_hooks=Ablate("L0H0", "resample").hooks(model, tokens))
    per_position = Ablate("L0H0", "mean", tokens, per_position=True)
    with pytest.raises(InputError, match="mean per position needs as many"):
        model.run_with_hooks(tokens[:, :4], fwd_hooks=per_position.hooks(model))
    with pytest.raises(InputError, match=r"holds nothing for blocks\.1"):
        Ablate("L1H0", "mean", Reference.record(model, tokens, "L0H0")).hooks(model)


def test_a_permutation_in_one_cycle_leaves_nothing_in_place_and_differs_by_seed() -> None:
    seen = set()
    for seed in range(200):
        permutation = permutation_in_one_cycle(4, torch.Generator().manual_seed(seed))
        at, steps = int(permutation[0]), 1
        while at != 0:
            at, steps = int(permutation[at]), steps + 1
        assert steps == 4
        seen.add(tuple(permutation.tolist()))
    assert len(seen) == 6  # (4 - 1)! cycles


def test_blocks_without_a_mixer_and_with_two_are_ablated_whole() -> None:
    cases = every_case()
    with hooked(build(cases["nemotron_h"])) as model:
        assert Site.parse("L0").hook_names(model) == ["blocks.0.hook_mlp_out"]
        with pytest.raises(InputError, match=r"L0\.mixer names a mixer, and layer 0 has none"):
            Site.parse("L0.mixer").hook_names(model)
        with pytest.raises(InputError, match="L0H0 names head 0"):
            Site.parse("L0H0").hook_names(model)
    with hooked(build(cases["falcon_h1"])) as model:
        both = ["blocks.1.mixer.hook_out", "blocks.1.mixer1.hook_out"]
        assert Site.parse("L1.mixer").hook_names(model) == both
        assert Site.parse("L1").hook_names(model) == [*both, "blocks.1.hook_mlp_out"]
