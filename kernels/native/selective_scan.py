"""The selective scan of Mamba-1 on a CPU: fused C++ when a compiler is there, plain PyTorch otherwise.

The recurrence is ``h_t = exp(-dt_t * rate) h_{t-1} + dt_t x_t b_t`` and ``y_t = c_t . h_t`` for each channel
(Gu and Dao 2023, arXiv:2312.00752, equations 2a, 2b and 4, with B discretised by Euler's rule as the reference
code does). `selective_scan.cpp` beside this file holds the fused loops, in which the step that decays and the strength
that writes are two operands.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.native import build


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None where they cannot be had."""
    found = build.library("selective_scan")
    if found is not None:
        pointer: Any = ctypes.c_void_p
        found.scan_forward.argtypes = [pointer, ctypes.c_int] + [pointer] * 10 + [ctypes.c_int64] + [pointer] * 2
        found.scan_forward.restype = None
        found.scan_backward.argtypes = [pointer, ctypes.c_int] + [pointer] * 15
        found.scan_backward.restype = None
        found.scan_starts.argtypes = [ctypes.c_int64] * 3
        found.scan_starts.restype = found.scan_spans.restype = ctypes.c_int64
        found.scan_spans.argtypes = [ctypes.c_int64]
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
    ``D x`` and the output gate are the caller's. Fused for float32 on a CPU; any other dtype or device, or a missing
    compiler, takes ``selective_scan_loop``, which computes the same.
    """
    tensors = [x, dt, rate, b, c] + ([] if initial_state is None else [initial_state])
    fused = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
    if not fused or library() is None:
        return selective_scan_loop(x, dt, rate, b, c, initial_state)
    return fused_scan(x, dt, dt, -rate, b, c, initial_state)


def fused_scan(
    x: Float[Tensor, "batch time channel"],
    step: Float[Tensor, "batch time channel"],
    write: Float[Tensor, "batch time channel"] | None,
    rate: Float[Tensor, "channel state"],
    b: Float[Tensor, "batch time state"],
    c: Float[Tensor, "batch time state"],
    initial_state: Float[Tensor, "batch channel state"] | None = None,
) -> tuple[Float[Tensor, "batch time channel"], Float[Tensor, "batch channel state"]]:
    """``h_t = exp(step_t * rate) h_{t-1} + write_t x_t b_t``, ``y_t = c_t . h_t``, and the final state; differentiable.

    Operands are read where they lie, whatever their strides over batch and time. Their own gradients cannot be
    differentiated again.

    Args:
        step, rate: their product is the log decay, at most 0, ``-inf`` for an exact reset.
        write: None means 1.

    Raises:
        ValueError: an operand is not float32 on a CPU.
        RuntimeError: there are no compiled loops here (`library` returns None), or shapes do not fit.
    """
    _refuse_others(x, step, write, rate, b, c, initial_state)
    y, final = _FusedScan.apply(x, step, write, rate, b, c, initial_state)  # type: ignore[no-untyped-call]  # torch's
    return y, final


def fused_states(
    x: Float[Tensor, "batch time channel"],
    step: Float[Tensor, "batch time channel"],
    write: Float[Tensor, "batch time channel"] | None,
    rate: Float[Tensor, "channel state"],
    b: Float[Tensor, "batch time state"],
    at: Sequence[int],
    initial_state: Float[Tensor, "batch channel state"] | None = None,
) -> Float[Tensor, "batch steps channel state"]:
    """The states of `fused_scan` after each of the steps `at`, in one pass, without derivatives.

    Args:
        at: steps between 0 and the last, in ascending order, each once.

    Raises:
        ValueError: `at` is not that, or an operand is not float32 on a CPU.
        RuntimeError: as for `fused_scan`.
    """
    _refuse_others(x, step, write, rate, b, initial_state)
    steps = list(at)
    if any(b <= a for a, b in zip([-1, *steps], steps, strict=False)) or (steps and steps[-1] >= x.shape[1]):
        raise ValueError(f"steps go up from 0 to {x.shape[1] - 1}, each once; got {steps}")
    if not steps:
        return x.new_zeros(x.shape[0], 0, *rate.shape)
    until = steps[-1] + 1
    shorter = [None if t is None else t[:, :until].detach() for t in (x, step, write, b)]
    found = _Run.of(shorter[0], shorter[1], shorter[2], rate.detach(), shorter[3], shorter[3])
    return found.forward(initial_state, keep=steps)[3]


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


class _Run:
    """One set of operands, laid out as the compiled loops read them."""

    def __init__(self, rows: list[Tensor | None], rate: Tensor) -> None:
        self.rows, self.rate = rows, rate

    @classmethod
    def of(
        cls,
        x: Tensor | None,
        step: Tensor | None,
        write: Tensor | None,
        rate: Tensor,
        b: Tensor | None,
        c: Tensor | None,
    ) -> _Run:
        """The operands, with those copied whose rows have gaps."""
        assert x is not None and b is not None
        wide, narrow = x.shape, (*x.shape[:2], rate.shape[1])
        shapes = (wide, wide, wide, narrow, narrow)
        given = zip((x, step, write, b, c), shapes, strict=True)
        return cls([None if t is None else _in_rows(t.expand(shape)) for t, shape in given], rate.contiguous())

    def forward(
        self, initial: Tensor | None, record: bool = False, keep: Sequence[int] = ()
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Outputs, final state, the states at chunk starts where `record` asks for them, and the states to keep."""
        x, rate = self.rows[0], self.rate
        assert x is not None
        batch, time, channels = x.shape
        states = rate.shape[1]
        initial = None if initial is None else initial.expand(batch, channels, states).contiguous()
        y = x.new_empty(batch, time, channels)
        final = x.new_empty(batch, channels, states)
        starts = x.new_empty(batch, _built().scan_starts(time, channels, states)) if record else None
        steps = torch.tensor(keep, dtype=torch.int64)
        kept = x.new_empty(batch, len(keep), channels, states)
        operands = (*self.rows, rate, initial, y, final, starts)
        _built().scan_forward(
            self.shape(), build.threads(), *(build.pointer(t) for t in operands),
            len(keep), build.pointer(steps), build.pointer(kept),
        )  # fmt: skip
        return y, final, starts, kept

    def backward(self, starts: Tensor, grad_y: Tensor, grad_final: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, step, write, rate, b, c and the initial state."""
        x, _, write, _, _ = self.rows
        assert x is not None
        batch, time, channels = x.shape
        states, spans = self.rate.shape[1], _built().scan_spans(channels)
        grad_x, grad_step = x.new_empty(x.shape), x.new_empty(x.shape)
        grad_write = None if write is None else x.new_empty(x.shape)
        grad_b, grad_c = x.new_empty(batch, spans, time, states), x.new_empty(batch, spans, time, states)
        grad_rate = x.new_empty(batch, channels, states)
        grad_state = grad_final.clone(memory_format=torch.contiguous_format)
        tensors = (
            *self.rows, self.rate, starts, grad_y.contiguous(), grad_state,
            grad_x, grad_step, grad_write, grad_rate, grad_b, grad_c,
        )  # fmt: skip
        _built().scan_backward(self.shape(), build.threads(), *(build.pointer(t) for t in tensors))
        return grad_x, grad_step, grad_write, grad_rate.sum(0), grad_b.sum(1), grad_c.sum(1), grad_state

    def shape(self) -> ctypes.Array[ctypes.c_int64]:
        """Sizes and strides, as `SCAN` in the source reads them."""
        x = self.rows[0]
        assert x is not None
        strides = [stride for t in self.rows for stride in ((0, 0) if t is None else t.stride()[:2])]
        numbers = [*x.shape, self.rate.shape[1], *strides]
        return (ctypes.c_int64 * len(numbers))(*numbers)


class _FusedScan(torch.autograd.Function):
    """Binds the compiled loops. Keeps the states at chunk starts for the backward pass, which recomputes the others."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, write: Tensor | None, rate: Tensor, b: Tensor, c: Tensor,
        initial: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        run = _Run.of(x, step, write, rate, b, c)
        y, final, starts, _ = run.forward(initial, record=any(ctx.needs_input_grad))
        ctx.save_for_backward(*run.rows, run.rate, starts)
        return y, final

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_final: Tensor) -> tuple[Tensor | None, ...]:
        *rows, rate, starts = ctx.saved_tensors
        gradients = _Run(rows, rate).backward(starts, grad_y, grad_final)
        return tuple(g if needed else None for g, needed in zip(gradients, ctx.needs_input_grad, strict=True))


def _in_rows(t: Tensor) -> Tensor:
    """The tensor itself where the numbers of a row are neighbours, else a copy."""
    return t if t.stride(-1) == 1 or t.shape[-1] <= 1 else t.contiguous()


def _refuse_others(*operands: Tensor | None) -> None:
    if any(t is not None and (t.dtype != torch.float32 or t.device.type != "cpu") for t in operands):
        raise ValueError("the fused scan takes float32 tensors on a CPU")


def _built() -> ctypes.CDLL:
    """The compiled library.

    Raises:
        RuntimeError: it cannot be had here.
    """
    found = library()
    if found is None:
        raise RuntimeError("the fused scan was not compiled here; use selective_scan_loop or the chunked backend")
    return found
