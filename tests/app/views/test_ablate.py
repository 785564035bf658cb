"""The page Ablate against the model itself: effects, controls, tokens, and the code and the file that it offers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.app.serving import Workspace
from workbench.app.views import ablation_study
from workbench.app.views.ablate import (
    ablation_code,
    components_of,
    token_losses,
    token_losses_code,
    worked_example,
)
from workbench.app.views.ablation_effects import effect_figure, in_words, shown_of
from workbench.app.views.ablation_study import OWN_TEXT, Asking, Measured, run_ablation, seconds_for, study_file
from workbench.errors import InputError
from workbench.saes import FeatureEdit, load_sae, read_features, save_sae
from workbench.studies import read_study

PROMPT = "The state of the Union is strong because our people are strong. The state of the Union is"
SOURCE = "zoo:attention"
PAIR = Asking(SOURCE, ("L1H2", "L1H0"), "zero", OWN_TEXT, PROMPT)


@pytest.fixture(scope="module")
def model() -> wb.HookedModel:
    return wb.load(SOURCE)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def pair(model: wb.HookedModel, workspace: Workspace) -> Measured:
    return run_ablation(model, PAIR, workspace)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _without(model: wb.HookedModel, heads: list[int], method: str = "zero") -> float:
    """Mean loss in nats with heads of layer 1 at zero, or at their mean, where the output projection reads them."""

    def replaced(z: torch.Tensor, hook: Any) -> torch.Tensor:
        z = z.clone()
        z[:, :, heads] = z[:, :, heads].mean(1, keepdim=True) if method == "mean" else 0
        return z

    tokens = model.to_tokens(PROMPT, prepend_bos=False)
    with torch.no_grad():
        hooks = [("blocks.1.mixer.hook_z", replaced)] if heads else []
        logits = model.run_with_hooks(tokens, fwd_hooks=hooks)[0, :-1].double()
    return float(torch.nn.functional.cross_entropy(logits, tokens[0, 1:]))


def test_effects_are_those_of_zeroing_the_heads_by_hand(model: wb.HookedModel, pair: Measured) -> None:
    (beside,) = shown_of(pair, "loss")
    plain = _without(model, [])
    assert beside.baseline == pytest.approx(plain, abs=1e-5)
    assert beside.together.value == pytest.approx(_without(model, [0, 2]) - plain, abs=1e-5)
    by_label = {effect.label: effect.value for effect in beside.alone}
    assert by_label == {
        "L1H0": pytest.approx(_without(model, [0]) - plain, abs=1e-5),
        "L1H2": pytest.approx(_without(model, [2]) - plain, abs=1e-5),
    }
    assert f"{beside.together.value:+.3g} nats" in in_words(beside, "loss", "zero")


def test_what_is_put_in_their_place_is_what_was_asked_for(model: wb.HookedModel, workspace: Workspace) -> None:
    (beside,) = shown_of(run_ablation(model, replace(PAIR, method="mean"), workspace), "loss")
    by_hand = {method: _without(model, [0, 2], method) - _without(model, []) for method in ("mean", "zero")}
    assert beside.together.value == pytest.approx(by_hand["mean"], abs=1e-5)
    assert by_hand["mean"] != pytest.approx(by_hand["zero"], abs=0.01)


def test_random_controls_are_as_many_other_heads(pair: Measured) -> None:
    effects = pair.effects
    drawn = effects[effects["control_of"].notna() & (effects["metric"] == "loss")]
    sets = [set(label.split(" + ")) for label in drawn["label"]]
    assert len(sets) == 19 and all(len(one) == 2 and not one & {"L1H0", "L1H2"} for one in sets)
    (beside,) = shown_of(pair, "loss")
    assert sorted(beside.controls) == sorted(drawn["effect"])
    as_bad = sum(abs(effect) >= abs(beside.together.value) for effect in beside.controls)
    assert beside.p == pytest.approx((1 + as_bad) / 20)


def test_where_a_layer_has_too_few_others_controls_come_from_any_layer(pair: Measured) -> None:
    (entry,) = pair.study.edits
    assert entry.controls is not None and entry.controls.match == ["size"]


def test_the_same_layers_are_kept_to_where_they_are_asked_for(model: wb.HookedModel, workspace: Workspace) -> None:
    found = run_ablation(model, replace(PAIR, match="same layers"), workspace)
    drawn = found.effects[found.effects["control_of"].notna()]
    assert set(drawn["label"]) == {"L1H1 + L1H3"}
    assert "Only 1 different random control exists" in found.notes[0] and "0.5" in found.notes[0]


def test_intervals_and_dots_come_with_several_prompts(model: wb.HookedModel, workspace: Workspace) -> None:
    asking = Asking(SOURCE, ("L1.mixer",), "mean", "repeated_random_tokens", PROMPT, count=4)
    (beside,) = shown_of(run_ablation(model, asking, workspace), "loss")
    one = beside.together
    assert len(one.prompts) == 4 and np.mean(one.prompts) == pytest.approx(one.value)
    assert one.low < one.value < one.high
    figure = effect_figure([beside], "loss")
    assert list(figure.data[1].y) == list(one.prompts)
    assert figure.data[0].error_y.array[0] == pytest.approx(one.high - one.value)


@pytest.mark.parametrize("prompt", ["", "a"])
def test_a_task_is_ablated_whatever_the_prompt_that_it_does_not_read(
    model: wb.HookedModel, workspace: Workspace, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, prompt: str
) -> None:
    asking = Asking(SOURCE, ("L1H0",), "zero", "repeated_random_tokens", prompt, count=2)
    found = run_ablation(model, asking, workspace)
    assert found.effects.equals(run_ablation(model, replace(asking, prompt=PROMPT), workspace).effects)
    assert asking.name == replace(asking, prompt=PROMPT).name
    assert asking.name != replace(asking, inputs="induction").name != replace(PAIR, chips=("L1H0",)).name
    assert replace(PAIR, prompt="another text").name != PAIR.name
    monkeypatch.setattr(ablation_study, "SMALL", 0)
    assert seconds_for(model, asking, workspace)
    space: dict[str, Any] = {}
    exec(ablation_code(asking, found), space)
    assert space["effects"]["effect"].equals(found.effects["effect"])


def test_a_task_of_random_tokens_needs_no_tokenizer(
    model: wb.HookedModel, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.tokens, "tokenizer", None)
    asking = Asking(SOURCE, ("L1H0",), "zero", "repeated_random_tokens", PROMPT, count=2)
    (beside,) = shown_of(run_ablation(model, asking, workspace), "loss")
    assert len(beside.together.prompts) == 2


def test_the_code_of_the_effects_gives_the_same_numbers(pair: Measured, elsewhere: Path) -> None:
    space: dict[str, Any] = {}
    exec(ablation_code(PAIR, pair), space)
    columns = ["label", "metric", "effect", "low", "high", "p_controls"]
    assert space["effects"][columns].equals(pair.effects[columns])


def test_the_saved_file_is_the_same_study_with_the_metric_in_front(pair: Measured, elsewhere: Path) -> None:
    (elsewhere / "study.yaml").write_text(study_file(pair.study, "kl"), encoding="utf-8")
    study = read_study(elsewhere / "study.yaml")
    assert study.metrics[0].name == "kl" and study.name == PAIR.name == PAIR.file.stem
    assert study.edits == pair.study.edits and study.inputs == pair.study.inputs and study.seed == pair.study.seed


@pytest.mark.parametrize("method", ["zero", "mean"])
def test_token_losses_add_up_and_their_code_gives_the_same(
    model: wb.HookedModel, workspace: Workspace, method: str
) -> None:
    asking = replace(PAIR, method=method)
    found = token_losses(model, asking, workspace)
    assert np.isnan(found.difference[0]) and len(found.tokens) == len(found.difference)
    if method == "zero":
        assert np.nanmean(found.after) == pytest.approx(_without(model, [0, 2]), abs=1e-5)
    space: dict[str, Any] = {}
    exec(token_losses_code(asking), space)
    np.testing.assert_allclose(space["difference"].detach().numpy(), found.difference[1:], atol=1e-6)


def test_features_of_the_zoo_and_of_the_workspace(model: wb.HookedModel, workspace: Workspace) -> None:
    place = workspace.root / "features" / "mine"
    shipped = load_sae("zoo:attention/resid_post", model=model)
    save_sae(shipped, place)
    tokens = model.to_tokens(PROMPT)
    strongest = int(read_features(model, shipped, PROMPT).amax((0, 1)).argmax())
    with FeatureEdit.ablate(shipped, [strongest]).applied(model):
        expected = model(tokens, return_type="loss", loss_per_token=True)[0].detach().numpy()
    for source in ("zoo:attention/resid_post", "features/mine"):
        asking = replace(PAIR, chips=(f"{source}#{strongest}",))
        np.testing.assert_allclose(token_losses(model, asking, workspace).after[1:], expected, atol=1e-6)
        (beside,) = shown_of(run_ablation(model, asking, workspace), "loss")
        assert beside.together.value == pytest.approx(expected.mean() - _without(model, []), abs=1e-4)
    assert replace(PAIR, chips=("features/mine#3",)).file.parent == Path()
    assert PAIR.file.parent == Path("studies")


def test_a_feature_outside_the_workspace_is_refused(model: wb.HookedModel, workspace: Workspace) -> None:
    asking = replace(PAIR, chips=("../elsewhere#3",))
    with pytest.raises(InputError, match="outside"):
        run_ablation(model, asking, workspace)
    with pytest.raises(InputError, match="outside"):
        token_losses(model, asking, workspace)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"chips": ()}, "Nothing is to be ablated"),
        ({"chips": ("L1", "L1H0")}, "overlaps"),
        ({"chips": ("L1H7",)}, "heads 0..3"),
        ({"chips": ("L1H",)}, "no site"),
        ({"chips": ("zoo:attention/resid_post#x",)}, "no feature"),
        ({"method": "resample"}, "one prompt only"),
        ({"prompt": ""}, "write a longer one|empty"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(
    model: wb.HookedModel, workspace: Workspace, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        run_ablation(model, replace(PAIR, **change), workspace)


def test_what_is_offered_can_be_ablated(model: wb.HookedModel) -> None:
    offered = components_of(model)
    assert len(offered) == 4 * (3 + 4) and {"L0", "L3.mixer", "L2.mlp", "L1H3"} <= set(offered)
    assert worked_example(offered) == ("L1H0", "L1H1")  # fourteen others make 91 random pairs
    few = [site for site in offered if "H" not in site or site.startswith("L1")]
    assert worked_example(few) == ("L1.mixer",) and worked_example(["L0.mixer"]) == ("L0.mixer",)
    for site in offered:
        assert wb.Site.parse(site).hook_names(model)


def test_of_many_channels_quarters_of_a_layer_are_offered_and_one_is_the_example() -> None:
    channels = components_of(wb.load("zoo:mamba"))
    assert [site for site in channels if "H" in site][:5] == [
        "L0H0:64",
        "L0H64:128",
        "L0H128:192",
        "L0H192:256",
        "L1H0:64",
    ]
    assert worked_example(channels) == ("L1H0:64",)


def test_of_a_p_nothing_is_said_where_there_are_too_few_controls_for_one_of_five_percent(
    model: wb.HookedModel, workspace: Workspace
) -> None:
    few = run_ablation(model, replace(PAIR, chips=("L1.mixer",)), workspace)
    said = in_words(shown_of(few, "loss")[0], "loss", "zero")
    assert "3 random sets of as many other components" in said and said.endswith("(too few for a p of 0.05).")
    assert "so p cannot be below 0.25." in " ".join(few.notes)
    enough = run_ablation(model, PAIR, workspace)
    assert "(p = " in in_words(shown_of(enough, "loss")[0], "loss", "zero")


def test_a_large_model_is_foreseen_to_take_as_many_passes_as_there_are_edits(
    model: wb.HookedModel, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = Asking("zoo:attention", ("L1H0", "L1H2"), "mean", "repeated_random_tokens", "We the people", count=8)
    assert seconds_for(model, asking, workspace) is None
    monkeypatch.setattr(ablation_study, "SMALL", 0)
    monkeypatch.setattr(ablation_study, "pass_seconds", lambda model: 10.0)
    # 2 heads, both together, 19 random sets, 2 passes without an edit; 8 prompts of 2 x 16 tokens, of 400 a pass.
    assert seconds_for(model, asking, workspace) == pytest.approx(10.0 * (2 + 1 + 19 + 2) * 8 * 32 / 400)
