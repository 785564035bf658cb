"""A run that stops at the first number that is not one, and says where it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import workbench
from workbench.errors import NotFiniteError
from workbench.hooks import HookPoint

TOKENS = torch.arange(1, 21).expand(2, 20)


@pytest.fixture(scope="module", params=["zoo:attention", "zoo:mamba", "zoo:gated_delta", "zoo:lstm"])
def model(request: pytest.FixtureRequest) -> workbench.HookedModel:
    return workbench.load(request.param)


@pytest.mark.parametrize("part", ["hook_v", "hook_out", "hook_k"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_the_hook_point_the_layer_and_the_step_are_named(model: workbench.HookedModel, part: str, bad: float) -> None:
    name = f"blocks.1.mixer.{part}"
    if name not in model.points:
        pytest.skip(f"{model.cfg.model_name} has no {name}.")

    def spoil(tensor: Tensor, hook: HookPoint) -> Tensor:
        tensor = tensor.clone()
        tensor[1, 13] = bad
        return tensor

    what = "NaN" if bad != bad else "infinite"
    message = rf"{name} \(layer 1\) is {what}, first at step 13 of sequence 1"
    with model.hooks([(name, spoil)]), model.debug_nans(), pytest.raises(NotFiniteError, match=message):
        model(TOKENS)
    assert model(TOKENS).isfinite().all()


def test_what_the_recurrence_itself_makes_is_found_where_it_comes_out(model: workbench.HookedModel) -> None:
    if "blocks.0.mixer.hook_state" not in model.points:
        pytest.skip(f"{model.cfg.model_name} keeps no recurrent state.")
    spoil = workbench.at_steps(lambda state, hook: state + torch.nan, 7)
    hooks = [("blocks.0.mixer.hook_state", spoil)]
    # The state after a step is what that step's output reads, and every later one.
    message = r"blocks\.0\.mixer\.hook_z \(layer 0\) is NaN, first at step 7 of sequence 0"
    with model.hooks(hooks), model.debug_nans(), pytest.raises(NotFiniteError, match=message):
        model(TOKENS)


def test_a_sound_run_is_left_alone_pads_and_generation_included(model: workbench.HookedModel) -> None:
    mask = torch.ones_like(TOKENS)
    mask[0, :5] = 0
    expected = model(TOKENS, attention_mask=mask)
    with model.debug_nans():
        torch.testing.assert_close(model(TOKENS, attention_mask=mask), expected, rtol=0, atol=0)
        model.generate(TOKENS[:1], max_new_tokens=3)


def test_a_reset_is_no_fault() -> None:
    model = workbench.load("zoo:rg_lru")

    def reset(tensor: Tensor, hook: HookPoint) -> Tensor:
        tensor = tensor.clone()
        tensor[:, 5] = -torch.inf
        return tensor

    with model.hooks([("blocks.0.mixer.hook_log_decay", reset)]), model.debug_nans():
        model(TOKENS)
