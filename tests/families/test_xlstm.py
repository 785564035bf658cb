"""xLSTM where the contract suite does not go: its equations unstabilised, wide gates, prefill against steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.families.case import all_in_float64, batch_of_tokens, build, hooked, recurrent, stock
from tests.families.cases.xlstm import CASES, _xlstm
from workbench.forms import MixerForm

CASE = CASES["xlstm"]


def with_gates(model: Any, input_bias: float, forget_bias: float) -> Any:
    with torch.no_grad():
        for block in model.backbone.blocks:
            block.mlstm_layer.igate_preact.bias.fill_(input_bias)
            block.mlstm_layer.fgate_preact.bias.fill_(forget_bias)
    return model


@pytest.mark.parametrize("input_bias", [-12.0, 0.0, 12.0])
@pytest.mark.parametrize("eps", [1e-6, 1e-2])
def test_wide_gates_and_any_epsilon_give_the_stock_models_logits(input_bias: float, eps: float) -> None:
    model = with_gates(build(replace(CASE, build=_xlstm(eps=eps)), torch.float64), input_bias, 1.0)
    tokens, _ = batch_of_tokens()
    expected = stock(model, tokens)
    with hooked(model):
        torch.testing.assert_close(stock(model, tokens), expected, atol=1e-9, rtol=1e-9)


def test_stocks_chunks_and_stocks_steps_are_one_recurrence_and_both_are_ours() -> None:
    model = with_gates(build(CASE, torch.float64), 1.0, 0.5)
    tokens, _ = batch_of_tokens()

    def steps() -> tuple[Tensor, Any]:
        parts, cache = [], None
        for token in tokens.split(1, dim=1):
            logits, cache = stock(model, token, cache=cache, keep=True)
            parts.append(logits)
        return torch.cat(parts, dim=1), cache

    (chunked, chunked_cache), (stepped, stepped_cache) = stock(model, tokens, keep=True), steps()
    torch.testing.assert_close(chunked, stepped, atol=1e-9, rtol=1e-9)
    with hooked(model):
        (ours, our_cache), (our_steps, our_stepped_cache) = stock(model, tokens, keep=True), steps()
    torch.testing.assert_close(ours, chunked, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(our_steps, stepped, atol=1e-9, rtol=1e-9)
    for layer, expected in chunked_cache.rnn_state.items():
        for cache in (stepped_cache, our_cache, our_stepped_cache):
            for theirs, found in zip(expected, cache.rnn_state[layer], strict=True):
                torch.testing.assert_close(found, theirs, atol=1e-9, rtol=1e-9)


def test_a_prompt_that_stock_cuts_up_goes_on_from_its_cache() -> None:
    model = with_gates(build(replace(CASE, build=_xlstm(max_inference_chunksize=7)), torch.float64), 3.0, 2.0)
    tokens, _ = batch_of_tokens()
    expected, _ = stock(model, tokens, keep=True)
    with hooked(model):
        actual, _ = stock(model, tokens, keep=True)
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-9)


def test_the_memory_is_the_papers_without_its_stabiliser() -> None:
    """arXiv:2405.04517, equations 19 to 27, exponential gates and all, from what the layer's projections give."""
    model: Any = with_gates(build(replace(CASE, build=_xlstm(eps=1e-300)), torch.float64), 2.0, -1.0)
    tokens, _ = batch_of_tokens()
    read: list[Tensor] = []
    layer = model.backbone.blocks[CASE.layer].mlstm_layer
    handle = layer.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    forms: list[MixerForm] = []
    with hooked(model) as wrapped, recurrent(wrapped, CASE).recorded_by(forms.append):
        read.clear()
        stock(model, tokens)
    handle.remove()
    (x,) = read
    heads, cap = 4, 15.0
    with torch.no_grad():
        q, k, v = (part(x).unflatten(-1, (heads, -1)) for part in (layer.q, layer.k, layer.v))
        i = torch.exp(cap * torch.tanh(layer.igate_preact(x) / cap))
        f = torch.sigmoid(cap * torch.tanh(layer.fgate_preact(x) / cap))
    for b in range(x.shape[0]):
        for h in range(heads):
            memory = torch.zeros(k.shape[-1], v.shape[-1], dtype=torch.float64)
            normaliser = torch.zeros(k.shape[-1], dtype=torch.float64)
            for t in range(x.shape[1]):
                memory = f[b, t, h] * memory + i[b, t, h] * torch.outer(k[b, t, h], v[b, t, h])
                normaliser = f[b, t, h] * normaliser + i[b, t, h] * k[b, t, h]
                query = q[b, t, h] / k.shape[-1] ** 0.5
                expected = query @ memory / torch.clamp((query @ normaliser).abs(), min=1.0)
                torch.testing.assert_close(forms[0].z[b, t, h], expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", list(CASES))
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    case = replace(CASES[name], build=_xlstm(hidden_size=4, num_heads=2, **_kind(name)))
    model = build(case, torch.float64)
    with hooked(model) as wrapped, all_in_float64(torch.float64):
        adapter: Any = recurrent(wrapped, case)
        x = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
        state = (
            torch.randn(2, 2, 2, 4, dtype=torch.float64, requires_grad=True),
            torch.rand(2, 2, 2, dtype=torch.float64, requires_grad=True),
            torch.zeros(2, 2, 1, dtype=torch.float64),
        )
        assert torch.autograd.gradcheck(lambda x, c, n: adapter.forward(x, (c, n, state[2]))[0], (x, *state[:2]))


def _kind(name: str) -> dict[str, Any]:
    return {"weight_mode": "fused", "use_bias": True} if "fused" in name else {}
