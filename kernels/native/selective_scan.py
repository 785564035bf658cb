"""The selective scan of Mamba-1 on a CPU: fused C++ when a compiler is there, plain PyTorch otherwise.

The recurrence is ``h_t = exp(-dt_t * rate) h_{t-1} + dt_t x_t b_t`` and ``y_t = c_t . h_t`` for each channel
(Gu and Dao 2023, arXiv:2312.00752, equations 2a, 2b and 4, with B discretised by Euler's rule as the reference
code does). ``selective_scan.cpp`` beside this file holds the fused loops.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.native import build

LANES = 16
COMPILED_VECTORS = (1, 2, 3, 4, 6, 8)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None where they cannot be had."""
    found = build.library("selective_scan")
    if found is not None:
        sizes = [ctypes.c_int64] * 3 + [ctypes.c_int, ctypes.c_int64, ctypes.c_int]
        found.scan_forward.argtypes = sizes + [ctypes.c_void_p] * 8
        found.scan_backward.argtypes = sizes + [ctypes.c_void_p] * 13
    return found


def selective_scan(
    x: Float[Tensor, "batch time channel"],
    dt: Float[Tensor, "batch time channel"],
    rate: Float[Tensor, "channel state"],
    b: Float[Tensor, "batch time state"],
    c: Float[Tensor, "batch time state"],
    initial_state: Float[Tensor, "batch channel state"] | None = None,
) -> tuple[Float[Tensor, "batch time channel"], Float[Tensor, "batch channel state"]]:
    """Run the selective scan and return the outputs and the final state; differentiable in every argument.

    ``rate`` is ``exp(A_log)``, the positive decay rate per unit of ``dt``; ``dt`` is after its softplus. The skip
    ``D x`` and the output gate are the caller's. Fused for float32 on a CPU; any other dtype or device, a state
    larger than 128, or a missing compiler takes ``selective_scan_loop``, which computes the same.
    """
    tensors = [x, dt, rate, b, c] + ([] if initial_state is None else [initial_state])
    vectors = -(-rate.shape[1] // LANES)
    fused = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
    if not fused or vectors > COMPILED_VECTORS[-1] or x.shape[1] == 0 or library() is None:
        return selective_scan_loop(x, dt, rate, b, c, initial_state)
    if initial_state is None:
        initial_state = x.new_zeros(x.shape[0], x.shape[2], rate.shape[1])
    states = rate.shape[1]
    padded = LANES * next(v for v in COMPILED_VECTORS if v >= vectors)
    if padded != states:
        # Padding is inert: zero rows of b leave the extra states at zero.
        rate, b, c, initial_state = (
            torch.nn.functional.pad(t, (0, padded - states)) for t in (rate, b, c, initial_state)
        )
    y, final = _FusedScan.apply(x, dt, rate, b, c, initial_state)  # type: ignore[no-untyped-call]  # torch's own
    return y, final[..., :states]


def selective_scan_loop(
    x: Float[Tensor, "batch time channel"],
    dt: Float[Tensor, "batch time channel"],
    rate: Float[Tensor, "channel state"],
    b: Float[Tensor, "batch time state"],
    c: Float[Tensor, "batch time state"],
    initial_state: Float[Tensor, "batch channel state"] | None = None,
) -> tuple[Float[Tensor, "batch time channel"], Float[Tensor, "batch channel state"]]:
    """``selective_scan`` as a loop over time in plain PyTorch: any dtype and device."""
    h = x.new_zeros(x.shape[0], x.shape[2], rate.shape[1]) if initial_state is None else initial_state
    outputs = []
    for t in range(x.shape[1]):
        h = torch.exp(-dt[:, t, :, None] * rate) * h + (dt[:, t] * x[:, t])[..., None] * b[:, t, None, :]
        outputs.append((h * c[:, t, None, :]).sum(-1))
    return (torch.stack(outputs, dim=1) if outputs else torch.zeros_like(x)), h


class _FusedScan(torch.autograd.Function):
    """Binds the compiled loops. Keeps the states at chunk starts for the backward pass, which recomputes the others."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, rate: Tensor, b: Tensor, c: Tensor, initial_state: Tensor
    ) -> tuple[Tensor, Tensor]:
        x, dt, rate, b, c = (t.contiguous() for t in (x, dt, rate, b, c))
        batch, time, channels = x.shape
        chunk = _built().scan_chunk()
        y = torch.empty_like(x)
        state = initial_state.clone(memory_format=torch.contiguous_format)
        starts = None
        if any(ctx.needs_input_grad):
            starts = x.new_empty(batch, -(-time // chunk), channels, rate.shape[1])
        sizes = _sizes(x, rate)
        _call(_built().scan_forward, sizes, x, dt, rate, b, c, y, state, starts)
        ctx.save_for_backward(x, dt, rate, b, c, starts)
        ctx.sizes = sizes
        return y, state

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_final: Tensor) -> tuple[Tensor, ...]:
        x, dt, rate, b, c, starts = ctx.saved_tensors
        batch, time, channels, _, spans, _ = ctx.sizes
        states = rate.shape[1]
        grad_x, grad_dt = torch.empty_like(x), torch.empty_like(dt)
        grad_rate = x.new_zeros(batch, channels, states)
        grad_b, grad_c = x.new_zeros(batch, spans, time, states), x.new_zeros(batch, spans, time, states)
        grad_state = grad_final.clone(memory_format=torch.contiguous_format)
        _call(
            _built().scan_backward, ctx.sizes, x, dt, rate, b, c, starts, grad_y.contiguous(), grad_state,
            grad_x, grad_dt, grad_rate, grad_b, grad_c,
        )  # fmt: skip
        return grad_x, grad_dt, grad_rate.sum(0), grad_b.sum(1), grad_c.sum(1), grad_state


def _built() -> ctypes.CDLL:
    """The compiled library, in code that runs only where there is one."""
    found = library()
    assert found is not None
    return found


def _sizes(x: Tensor, rate: Tensor) -> tuple[int, int, int, int, int, int]:
    """Batch, time, channels, vectors of states, spans of channels, threads: spans only where the batch is too small."""
    threads = build.threads()
    spans = min(-(-threads // x.shape[0]), -(-x.shape[2] // LANES))
    return x.shape[0], x.shape[1], x.shape[2], rate.shape[1] // LANES, spans, threads


def _call(function: Callable[..., int], sizes: tuple[int, ...], *tensors: Tensor | None) -> None:
    if function(*sizes, *(build.pointer(t) for t in tensors)):
        raise ValueError(f"the fused scan was not compiled for a state of {sizes[3] * LANES}")
