"""RecurrentGemma where the contract suite does not go: padding as stock has it, resets, states kept in the module."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.families.case import PADS, all_in_float64, batch_of_tokens, build, hooked, record, recurrent, stock
from tests.families.cases.recurrent_gemma import CASES
from workbench import kernels
from workbench.families.recurrent_gemma import STEEPEST_ROOT, _root

CASE = CASES["recurrent_gemma"]


def at_positions(model: Any, tokens: Tensor, positions: Tensor) -> Tensor:
    with torch.no_grad(), all_in_float64(torch.float64):
        logits: Tensor = model(tokens, position_ids=positions, use_cache=False).logits
    return logits


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.float64, 1e-9)], ids=str)
def test_a_padded_batch_gives_the_stock_models_logits(dtype: torch.dtype, limit: float) -> None:
    model = build(CASE, dtype)
    tokens, mask = batch_of_tokens()
    expected = stock(model, tokens, mask)
    with hooked(model):
        actual = stock(model, tokens, mask)
    real = mask.bool()
    torch.testing.assert_close(actual[real], expected[real], atol=limit, rtol=limit)


def test_pads_reach_a_text_through_the_convolution_alone_as_in_stock() -> None:
    """Why the contract suite's test of padding does not hold here: stock itself is no better."""
    model = build(CASE, torch.float64)
    tokens, mask = batch_of_tokens()
    alone = stock(model, tokens[1:, PADS:])
    assert (stock(model, tokens, mask)[1:, PADS:] - alone).abs().max() > 1e-3
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("conv_1d.weight"):
                parameter[..., :-1] = 0.0
    alone = stock(model, tokens[1:, PADS:])
    with hooked(model):
        padded = stock(model, tokens, mask)
    torch.testing.assert_close(padded[1:, PADS:], alone, atol=1e-9, rtol=1e-9)


def test_a_text_that_begins_in_the_middle_of_a_row_reads_nothing_from_before() -> None:
    model = build(CASE, torch.float64)
    tokens, _ = batch_of_tokens()
    positions = torch.stack([torch.arange(19), torch.cat([torch.arange(8), torch.arange(11)])])
    expected = at_positions(model, tokens, positions)
    forms = []
    with hooked(model) as wrapped, recurrent(wrapped, CASE).recorded_by(forms.append):
        actual = at_positions(model, tokens, positions)
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-9)
    dense = kernels.dense(forms[0].core)
    assert dense[1, :, 8:, :8].abs().max() < 1e-300
    assert dense[0, :, 8:, :8].abs().min() > 0.0
    torch.testing.assert_close(dense[1, :, 8, 8], torch.ones_like(dense[1, :, 8, 8]), atol=0, rtol=0)


def test_generation_equals_stock_generation() -> None:
    model: Any = build(CASE)
    prompt = batch_of_tokens()[0][:, :5]
    with all_in_float64(torch.float32):
        expected = model.generate(prompt, max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=-1)
        with hooked(model) as wrapped:
            under_hooks = model.generate(prompt, max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=-1)
            ours = wrapped.generate(prompt, max_new_tokens=6, stop_at_eos=False, return_type="tokens")
    assert torch.equal(under_hooks, expected)
    assert torch.equal(ours, expected)


def test_a_text_does_not_continue_the_one_before() -> None:
    """A prompt of one token, too, where stock reads the convolution's old inputs."""
    model = build(CASE, torch.float64)
    tokens, _ = batch_of_tokens()
    with hooked(model):
        fresh, _ = stock(model, tokens[:, :1], keep=True)
        stock(model, tokens, keep=True)
        again, _ = stock(model, tokens[:, :1], keep=True)
    torch.testing.assert_close(again, fresh, atol=0, rtol=0)


def test_a_row_can_begin_a_text_while_another_goes_on() -> None:
    model: Any = build(CASE, torch.float64)
    with hooked(model) as wrapped:
        outputs: list[Tensor] = []
        point = recurrent(wrapped, CASE).points["hook_head_out"]
        with point.listening(lambda out, hook: outputs.append(out.clone())), torch.no_grad():
            adapter: Any = recurrent(wrapped, CASE)
            x = torch.randn(2, 7, 12, dtype=torch.float64)
            adapter.forward(x, torch.arange(7)[None])
            adapter.forward(x[:, :1], torch.tensor([[0], [0]]))
            adapter.forward(x, torch.arange(7)[None])
            adapter.forward(x[:, :1], torch.tensor([[7], [0]]))
    _, begun, _, mixed = outputs
    torch.testing.assert_close(mixed[1], begun[1], atol=0, rtol=0)
    assert (mixed[0] - begun[0]).abs().max() > 1e-3


def test_wrapping_a_model_leaves_its_states_alone() -> None:
    model: Any = build(CASE)
    stock(model, batch_of_tokens()[0], keep=True)
    block = model.model.layers[1].temporal_block
    before = block.rg_lru.recurrent_states, block.conv1d_state
    with hooked(model):
        pass
    assert block.rg_lru.recurrent_states is before[0]
    assert block.conv1d_state is before[1]


def test_the_square_root_has_stocks_slope_everywhere() -> None:
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import SqrtBoundDerivative

    x = torch.tensor([0.0, 1e-9, 2e-7, 3e-7, 1e-3, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(_root(x).sum(), x)
    (theirs,) = torch.autograd.grad(SqrtBoundDerivative.apply(x).sum(), x)
    torch.testing.assert_close(ours, theirs, atol=0, rtol=1e-12)
    torch.testing.assert_close(_root(x), x.sqrt(), atol=0, rtol=1e-12)
    assert ours[0] == STEEPEST_ROOT


def test_gradients_are_those_of_finite_differences() -> None:
    model = build(CASE, torch.float64)
    positions = torch.tensor([[0, 1, 2, 0, 1]])
    with hooked(model) as wrapped:
        adapter: Any = recurrent(wrapped, CASE)
        x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: adapter.forward(x, positions, use_cache=False)[0], (x,))


def test_a_channel_forgets_by_its_own_decay() -> None:
    """Griffin's equation 3 and 4, one channel and one token at a time."""
    form = record(CASE, torch.float64, padded=False)
    core: Any = form.core
    batch, time, channels, _ = core.v.shape
    for b in range(batch):
        for c in range(channels):
            state = 0.0
            for t in range(time):
                a = float(core.log_decay[b, t, c, 0].exp())
                assert a == 0.0 if t == 0 else 0.0 < a < 1.0
                state = a * state + (1 - a * a) ** 0.5 * float(core.v[b, t, c, 0])
                assert abs(state - float(form.z[b, t, c, 0])) < 1e-12
