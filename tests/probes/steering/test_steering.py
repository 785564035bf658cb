"""Contrastive vectors are mean differences of single runs, and a sweep shows what each strength does."""

import functools

import pytest
import torch

import workbench as wb
from tests.probes.patching.cases import linear_after_attention, pick
from workbench.errors import HookNameError, InputError
from workbench.interventions import Steer
from workbench.model import HookedModel
from workbench.probes.steering import contrastive_vector, steering_figure, steering_sweep

GOOD = ["I love this film", "What a wonderful day it is today", "They are happy"]
BAD = ["I hate this film so much", "What a terrible day", "They are sad about it"]


@functools.cache
def zoo(name: str) -> HookedModel:
    return wb.load(f"zoo:{name}")


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("attention", "blocks.2.hook_resid_post"),
        ("mamba", "blocks.2.hook_resid_post"),
        ("gla", "blocks.1.mixer.hook_state"),
        ("lstm", "blocks.3.mixer.hook_state"),
    ],
)
@torch.no_grad()
def test_vector_is_the_mean_difference_of_unpadded_runs(name: str, hook: str) -> None:
    lm = zoo(name)
    vector = contrastive_vector(lm, GOOD, BAD, hook, batch_size=2)
    differences = []
    for good, bad in zip(GOOD, BAD, strict=True):
        (_, one), (_, other) = (lm.run_with_cache(text, hook) for text in (good, bad))
        differences.append(one[hook][0, -1] - other[hook][0, -1])
    expected = torch.stack(differences).mean(0)
    torch.testing.assert_close(vector.values[hook], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert vector.details["pairs"] == 3
    swapped = contrastive_vector(lm, BAD, GOOD, hook)
    torch.testing.assert_close(swapped.values[hook], -vector.values[hook], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_positions_are_averaged_and_every_layer_has_a_vector() -> None:
    lm = zoo("attention")
    one, other = torch.arange(8).reshape(2, 4) + 10, torch.arange(8).reshape(2, 4) + 30
    vector = contrastive_vector(lm, one, other, "hook_resid_post", positions=[1, -1])
    assert list(vector.values) == [f"blocks.{layer}.hook_resid_post" for layer in range(4)]
    (_, mine), (_, theirs) = (lm.run_with_cache(tokens) for tokens in (one, other))
    hook = "blocks.3.hook_resid_post"
    torch.testing.assert_close(vector.values[hook], (mine[hook] - theirs[hook])[:, [1, 3]].mean((0, 1)))


def test_a_vector_moves_the_model_towards_the_positive_prompts() -> None:
    lm = zoo("attention")
    hook = "blocks.3.hook_resid_post"
    vector = contrastive_vector(lm, GOOD, BAD, hook)
    with torch.no_grad():
        target = lm(GOOD)[:, -1].softmax(-1).mean(0) - lm(BAD)[:, -1].softmax(-1).mean(0)
    token, other = int(target.argmax()), int(target.argmin())
    table = steering_sweep(lm, BAD, vector, [-1.0, 0.0, 1.0], pick(-1, token, other), positions=-1)
    assert table["value"].is_monotonic_increasing
    assert table["effect"][1] == 0
    assert table["low"][2] > 0 > table["high"][0]


def test_effects_are_linear_in_the_strength_where_the_model_is() -> None:
    lm = linear_after_attention()
    vector = torch.randn(16, dtype=torch.double)
    tokens = torch.arange(12).reshape(3, 4)
    alphas = [-2.0, 0.5, 3.0]
    table = steering_sweep(lm, tokens, vector, alphas, pick(-1, 3, 4), at="blocks.0.hook_resid_post")
    weights = lm.wrapped.lm_head.weight.detach()  # type: ignore[operator,union-attr]
    slope = float(vector @ (weights[3] - weights[4]))
    assert table["effect"].tolist() == pytest.approx([alpha * slope for alpha in alphas])
    with torch.no_grad(), Steer(vector, "blocks.0.hook_resid_post", 3.0).applied(lm):
        assert table["value"][2] == pytest.approx(float(pick(-1, 3, 4)(lm(tokens)).mean()))


@torch.no_grad()
def test_a_recurrent_state_is_steered_by_its_own_vector() -> None:
    lm = zoo("gla")
    vector = contrastive_vector(lm, GOOD, BAD, "blocks.1.mixer.hook_state")
    table = steering_sweep(lm, BAD, vector, [0.0, 4.0], pick(-1, 5, 6), positions=-1)
    assert table["effect"][0] == pytest.approx(0, abs=1e-5)
    assert abs(table["effect"][1]) > 1e-3


def test_the_picture_has_the_strengths_in_order() -> None:
    lm = linear_after_attention()
    table = steering_sweep(
        lm, torch.arange(12).reshape(3, 4), torch.ones(16).double(), [2.0, -1.0], pick(-1, 3, 4), at="hook_resid_post"
    )
    figure = steering_figure(table, "logit difference")
    assert [*figure.data[1].x] == [-1.0, 2.0]
    assert figure.layout.yaxis.title.text == "logit difference"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda lm: contrastive_vector(lm, GOOD, BAD[:2], "hook_resid_post"), "make no pairs"),
        (lambda lm: contrastive_vector(lm, GOOD, BAD, "hook_resid_post", positions=0), "is padding in one"),
        (lambda lm: contrastive_vector(lm, GOOD, BAD, "hook_resid_post", batch_size=0), "at least one prompt"),
        (lambda lm: contrastive_vector(lm, GOOD, BAD, "mixer.hook_pattern"), "no activation a position"),
        (lambda lm: steering_sweep(lm, GOOD, torch.ones(128), [], pick(-1, 0, 1)), "strengths is empty"),
    ],
)
def test_prompts_that_make_no_vector_are_refused_with_a_sentence(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make(zoo("attention"))  # type: ignore[operator]
    with pytest.raises(HookNameError, match="nowhere"):
        contrastive_vector(zoo("attention"), GOOD, BAD, "hook_nowhere")
