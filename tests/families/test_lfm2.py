"""LFM2's short convolution, beyond the contract suite: its filter as a matrix, its register, pads with biases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.families.case import PADS, Case, batch_of_tokens, build, hooked, record, recurrent, stock
from tests.families.cases.lfm2 import CASES, made
from tests.families.test_gated_delta import assert_generation_is_stocks, assert_half_precision_is_near_stocks
from workbench.attention import ImplicitAttention
from workbench.hooks import HookPoint


def test_the_matrix_has_the_filters_taps_on_its_diagonals() -> None:
    case = CASES["lfm2"]
    weight = build(case, torch.float64).get_parameter(f"model.layers.{case.layer}.conv.conv.weight")[:, 0]
    taps, time = weight.shape[1], batch_of_tokens()[0].shape[1]
    dense = ImplicitAttention.from_form(record(case, torch.float64), scope="core").dense()
    for lag in range(time):
        expected = weight[:, taps - 1 - lag, None] if lag < taps else torch.zeros(12, 1, dtype=torch.float64)
        assert torch.equal(dense.diagonal(-lag, 2, 3), expected.expand(2, 12, time - lag))


def test_the_state_is_the_register_of_gated_inputs_with_the_latest_first() -> None:
    case = CASES["lfm2"]
    model = build(case, torch.float64)
    tokens, _ = batch_of_tokens()
    with hooked(model) as wrapped:
        states: list[Tensor] = []
        values: list[Tensor] = []
        points = recurrent(wrapped, case).points
        with (
            points["hook_state"].listening(lambda state, hook: states.append(state.clone())),
            points["hook_v"].listening(lambda v, hook: values.append(v.clone())),
        ):
            stock(model, tokens)
    (v,) = values
    assert states[9].shape == (2, 12, 3, 1)
    assert torch.equal(states[9], v[:, [9, 8, 7]].transpose(1, 2))


def test_pads_leave_no_trace_although_the_biases_write_at_each_of_them_in_stock() -> None:
    model = build(CASES["lfm2 with biases"], torch.float64)
    tokens, mask = batch_of_tokens()
    confused = stock(model, tokens, mask)
    with hooked(model):
        padded, alone = stock(model, tokens, mask), stock(model, tokens[1:, PADS:])
    torch.testing.assert_close(padded[1:, PADS:], alone, atol=1e-9, rtol=1e-9)
    assert (confused[1:, PADS:] - alone).abs().max() > 1e-3  # when upstream mends it, the case can say padding=True


@pytest.mark.parametrize("hook_the_rest", [False, True])
def test_a_register_that_a_hook_has_edited_is_what_the_next_tokens_see(hook_the_rest: bool) -> None:
    """The edited register is in transformers' cache: to go on from there equals one pass with the same edit."""
    model, tokens = build(CASES["lfm2"], torch.float64), batch_of_tokens()[0]

    def edit(state: Tensor, hook: HookPoint) -> Tensor | None:
        return state * -3.0 + 1.0 if hook.step == 8 else None

    with hooked(model) as wrapped:
        with recurrent(wrapped, CASES["lfm2"]).points["hook_state"].listening(edit):
            whole = stock(model, tokens[:, :10])
            _, cache = stock(model, tokens[:, :9], keep=True)
        if hook_the_rest:
            rest, _ = stock(model, tokens[:, 9:10], cache=cache, keep=True)
    if not hook_the_rest:
        rest, _ = stock(model, tokens[:, 9:10], cache=cache, keep=True)
    torch.testing.assert_close(rest, whole[:, 9:], atol=1e-9, rtol=1e-9)


def test_a_prompt_shorter_than_the_filter_and_a_filter_of_one_tap() -> None:
    tokens, _ = batch_of_tokens()
    for taps in (1, 6):
        model = build(Case(made(conv_L_cache=taps)), torch.float64)
        whole = stock(model, tokens[:, :9])
        with hooked(model):
            first, cache = stock(model, tokens[:, :2], keep=True)
            second, cache = stock(model, tokens[:, 2:5], cache=cache, keep=True)
            third, cache = stock(model, tokens[:, 5:6], cache=cache, keep=True)
        rest = []  # one at a time: before transformers 5.15 stock forgets its register where several tokens follow
        for step in range(6, 9):
            logits, cache = stock(model, tokens[:, step : step + 1], cache=cache, keep=True)
            rest.append(logits)
        torch.testing.assert_close(torch.cat([first, second, third, *rest], dim=1), whole, atol=1e-9, rtol=1e-9)


def test_the_models_own_generation_runs_through_the_adapters() -> None:
    assert_generation_is_stocks(CASES["lfm2"])


def test_half_precision_is_no_worse_than_stocks() -> None:
    assert_half_precision_is_near_stocks(CASES["lfm2"])
