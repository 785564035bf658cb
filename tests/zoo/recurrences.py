"""Mixers written a second time, one token after another in plain loops from the papers' equations, in float64.

Nothing here comes from the workbench but the weights. `weights` maps the names of a mixer's parameters to tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Step = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def softplus(x: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(x))


def rms_normed(x: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).sum() / x.numel() + eps)


def projected(weights: Weights, name: str, tokens: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """``name_proj`` of each token of one sequence, then the taps of ``name_conv1d`` where there are any."""
    flat = torch.stack([weights[f"{name}_proj.weight"] @ token for token in tokens])
    if f"{name}_conv1d.weight" not in weights:
        return activation(flat)
    taps, bias = weights[f"{name}_conv1d.weight"], weights.get(f"{name}_conv1d.bias")
    rows = []
    for t in range(len(tokens)):
        row = torch.zeros_like(flat[0]) if bias is None else bias.clone()
        for back in range(min(t + 1, taps.shape[-1])):
            row = row + taps[:, 0, -1 - back] * flat[t - back]
        rows.append(activation(row))
    return torch.stack(rows)


def decayed(decay: Callable[[Tensor, int, int], Tensor]) -> Step:
    """``S = decay S + k v'``; `decay` is given the token, the head and the time."""

    def step(state: Tensor, k: Tensor, v: Tensor, token: Tensor, head: int) -> Tensor:
        factor = decay(token, head, k.numel())
        return factor[:, None] * state + k[:, None] * v[None, :]

    return step


def delta(decay: Callable[[Tensor, int, int], Tensor], strength: Callable[[Tensor, int], Tensor]) -> Step:
    """``S = D S + b k (v - (D S)' k)'``, the prediction error written along the key."""

    def step(state: Tensor, k: Tensor, v: Tensor, token: Tensor, head: int) -> Tensor:
        state = decay(token, head, k.numel())[:, None] * state
        found = torch.zeros_like(v)
        for i in range(k.numel()):
            found = found + k[i] * state[i]
        return state + strength(token, head) * k[:, None] * (v - found)[None, :]

    return step


def run(queries: Tensor, keys: Tensor, values: Tensor, tokens: Tensor, heads: int, step: Step) -> Tensor:
    """``S_t' q_t / sqrt(K)`` of every head, ``[time, heads, value]``, by updating one state a head token by token."""
    size, width = keys.shape[-1] // heads, values.shape[-1] // heads
    outputs = torch.zeros(len(tokens), heads, width, dtype=tokens.dtype)
    for head in range(heads):
        state = torch.zeros(size, width, dtype=tokens.dtype)
        of_key, of_value = slice(head * size, (head + 1) * size), slice(head * width, (head + 1) * width)
        for t, token in enumerate(tokens):
            state = step(state, keys[t, of_key], values[t, of_value], token, head)
            for i in range(size):
                outputs[t, head] += queries[t, of_key][i] * state[i] / size**0.5
    return outputs


def finished(
    weights: Weights, outputs: Tensor, tokens: Tensor, gate: Callable[[Tensor], Tensor] | None, eps: float
) -> Tensor:
    """The norm over each head's channels, the gate, the output projection; ``[time, model]``."""
    rows = []
    for read, token in zip(outputs, tokens, strict=True):
        normed = torch.stack([rms_normed(head, eps) * weights["o_norm"] for head in read]).flatten()
        rows.append(weights["o_proj.weight"] @ (normed if gate is None else normed * gate(token)))
    return torch.stack(rows)


def unit_heads(flat: Tensor, heads: int) -> Tensor:
    """Each head's part of each row scaled to length one, but for the published models' 1e-6."""
    split = flat.unflatten(-1, (heads, -1))
    return (split / torch.sqrt((split * split).sum(-1, keepdim=True) + 1e-6)).flatten(-2)
