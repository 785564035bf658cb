"""The linear recurrence ``h_t = a_t h_{t-1} + b_t`` under autograd, as one operation instead of one a step.

It maps `b` and the state before the first step linearly to all states and the last one. The transpose of that map,
which is its derivative, is the same recurrence backwards in time with the same `a`; so one function is forward,
backward and backward of the backward.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def linear_scan(
    decay: Float[Tensor, "time batch heads key value_or_one"],
    updates: Float[Tensor, "time batch heads key value"],
    initial: Float[Tensor, "batch heads key value"],
) -> tuple[Float[Tensor, "time batch heads key value"], Float[Tensor, "batch heads key value"]]:
    """Every state of the recurrence, and the last one again; differentiable as often as asked for.

    Args:
        decay: `a`, natural (no logarithm).
        updates: `b`, at least one step.
        initial: the state before the first step.
    """
    states, last = _Scan.apply(decay, updates, initial, False)  # type: ignore[no-untyped-call]  # torch's own
    return states, last


class _Scan(torch.autograd.Function):
    """Forwards ``h[t] = b[t] + a[t] h[t - 1]``, with `edge` before the first step, and the last state.

    Backwards ``h[t] = b[t] + a[t + 1] h[t + 1]``, with `edge` added to the last step, and ``a[0] h[0]``.
    """

    @staticmethod
    def forward(ctx: Any, decay: Tensor, updates: Tensor, edge: Tensor, backwards: bool) -> tuple[Tensor, Tensor]:
        # Time first in memory, too: a step is one contiguous stretch.
        states = updates.clone(memory_format=torch.contiguous_format)
        factors, steps = decay.unbind(0), states.unbind(0)
        if backwards:
            steps[-1].add_(edge)
            for t in range(len(steps) - 2, -1, -1):
                steps[t].addcmul_(factors[t + 1], steps[t + 1])
            end = factors[0] * steps[0]
        else:
            steps[0].addcmul_(factors[0], edge)
            for t in range(1, len(steps)):
                steps[t].addcmul_(factors[t], steps[t - 1])
            end = steps[-1].clone()
        ctx.save_for_backward(decay, states, edge)
        ctx.backwards = backwards
        return states, end

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        decay, states, edge = ctx.saved_tensors
        result, end = _Scan.apply(decay, *gradients, not ctx.backwards)  # type: ignore[no-untyped-call]
        if not ctx.needs_input_grad[0]:
            return None, result, end, None
        # The step before the first is the edge of whichever of the two ran forwards.
        forwards, backwards, before = (result, states, gradients[1]) if ctx.backwards else (states, result, edge)
        products = torch.cat([(backwards[0] * before)[None], backwards[1:] * forwards[:-1]])
        return products.sum_to_size(decay.shape), result, end, None
