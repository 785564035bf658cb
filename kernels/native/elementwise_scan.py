"""The scan of cells that hold one number, ``h_t = a_t h_{t-1} + b_t`` a channel, on a CPU in fused C++.

RG-LRU (De et al. 2024, arXiv:2402.19427, equation 4), RWKV-4's numerator and normaliser, and the cells of LSTM and GRU
with their gates held fixed are this recurrence. `elementwise_scan.cpp` beside this file holds the loops.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.native import build


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None where they cannot be had."""
    found = build.library("elementwise_scan")
    if found is not None:
        sizes = [ctypes.c_int64] * 3 + [ctypes.c_int] * 2
        found.elementwise_forward.argtypes = sizes + [ctypes.c_void_p] * 4
        found.elementwise_forward.restype = None
        found.elementwise_backward.argtypes = sizes + [ctypes.c_void_p] * 7
        found.elementwise_backward.restype = None
    return found


def elementwise_scan(
    decay: Float[Tensor, "batch time channel"],
    update: Float[Tensor, "batch time channel"],
    initial_state: Float[Tensor, "batch channel"] | None = None,
    logarithms: bool = False,
) -> Float[Tensor, "batch time channel"]:
    """Every state of ``h_t = a_t h_{t-1} + b_t``, float32; differentiable as often as asked for.

    Args:
        decay: `a`, or its natural logarithm where `logarithms` says so: ``-inf`` is then an exact reset, and so is
            anything below -87, where a factor is no normal float32 any more.
        update: `b`.
        initial_state: the state before the first step; None means zero.

    Raises:
        ValueError: an operand is not float32 on a CPU.
        RuntimeError: there are no compiled loops here (`library` returns None), or the shapes do not fit.
    """
    operands = [decay, update] + ([] if initial_state is None else [initial_state])
    if any(x.dtype != torch.float32 or x.device.type != "cpu" for x in operands):
        raise ValueError("the fused scan takes float32 tensors on a CPU")
    if initial_state is not None:
        initial_state = initial_state.expand(update.shape[0], update.shape[2]).contiguous()
    # Copied here and not inside, where what is saved would have lost its graph.
    decay, update = decay.expand_as(update).contiguous(), update.contiguous()
    states: Tensor = _Scan.apply(decay, update, initial_state, logarithms)  # type: ignore[no-untyped-call]  # torch's own
    return states


class _Scan(torch.autograd.Function):
    """Binds the compiled loops; the states it returns are all that its backward pass needs besides its inputs."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, update: Tensor, initial: Tensor | None, logarithms: bool) -> Tensor:
        states = torch.empty_like(update)
        pointers = (build.pointer(x) for x in (decay, update, initial, states))
        _built().elementwise_forward(*decay.shape, build.threads(), logarithms, *pointers)
        ctx.save_for_backward(decay, initial, states)
        ctx.logarithms = logarithms
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        decay, initial, states = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of the gradients is wanted
            return *_differentiable(decay, initial, states, grad, ctx.logarithms), None
        wanted = zip(ctx.needs_input_grad[:3], (decay, states, initial), strict=True)
        gradients = [torch.empty_like(x) if needed else None for needed, x in wanted]
        tensors = (decay, initial, states, grad.contiguous(), *gradients)
        sizes = (*decay.shape, build.threads(), ctx.logarithms)
        _built().elementwise_backward(*sizes, *(build.pointer(x) for x in tensors))
        return gradients[0], gradients[1], gradients[2], None


def _differentiable(
    decay: Tensor, initial: Tensor | None, states: Tensor, grad: Tensor, logarithms: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients as operations that autograd can follow: the transposed scan runs the same recurrence backwards."""
    later = torch.cat([decay[:, 1:], torch.zeros_like(decay[:, :1])], dim=1)
    through = elementwise_scan(later.flip(1), grad.flip(1), None, logarithms).flip(1)
    first = torch.zeros_like(states[:, :1]) if initial is None else initial[:, None]
    before = torch.cat([first, states[:, :-1]], dim=1)
    factor = decay.exp() if logarithms else decay
    by_decay = through * before * factor if logarithms else through * before
    start = None if initial is None else (through * factor)[:, :1].sum(1)
    return by_decay, through, start


def _built() -> ctypes.CDLL:
    """The compiled library.

    Raises:
        RuntimeError: it cannot be had here.
    """
    found = library()
    if found is None:
        raise RuntimeError("the fused scan was not compiled here; use the chunked backend")
    return found
