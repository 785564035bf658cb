"""Decays and delta rules on a CPU, in compiled loops: one recurrence, its states anywhere, its gradients.

For each head ``X = diag(exp(g_t)) S_{t-1}``, then ``S_t = X + w_t k_t v_t' - e_t (X' p_t)'`` and ``o_t = S_t' q_t``; in
`workbench.kernels.forms` the notation. ``recurrence.cpp`` beside this file holds the loops and says how they work.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.native import build

_NOTHING, _WRITTEN, _OTHER = range(3)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None where they cannot be had."""
    found = build.library("recurrence")
    if found is not None:
        found.recurrence_forward.argtypes = (
            [ctypes.c_void_p] + [ctypes.c_int] * 3 + [ctypes.c_void_p] * 9 + [ctypes.c_int64] + [ctypes.c_void_p] * 2
        )
        found.recurrence_forward.restype = None
        found.recurrence_backward.argtypes = [ctypes.c_void_p] + [ctypes.c_int] * 3 + [ctypes.c_void_p] * 17
        found.recurrence_backward.restype = None
    return found


@dataclass(frozen=True)
class Operands:
    """What the recurrence reads; float32, on the CPU.

    Attributes:
        log_decay: natural logs, at most 0; -inf forgets everything. Its last axis is 1 for one decay a head.
        probe: the direction in which a delta rule looks; None means `k`, or no delta rule where `erases` is False.
        erase: the direction along which it takes away what it found; None means ``write * k``.
        erases: whether there is a delta rule at all.
    """

    q: Float[Tensor, "batch time query_heads key"]
    k: Float[Tensor, "batch time key_heads key"]
    v: Float[Tensor, "batch time heads value"]
    log_decay: Float[Tensor, "batch time heads key_or_one"]
    write: Float[Tensor, "batch time heads"] | None = None
    probe: Float[Tensor, "batch time probe_heads key"] | None = None
    erase: Float[Tensor, "batch time erase_heads key"] | None = None
    erases: bool = False

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """The operands in the order in which the loops take them."""
        return self.q, self.k, self.v, self.log_decay, self.write, self.probe, self.erase

    def each(self, change: Callable[[Tensor], Tensor]) -> Operands:
        """The same with every tensor changed."""
        return _operands([None if x is None else change(x) for x in self.tensors], self.erases)


def recurrence(
    operands: Operands,
    initial_state: Float[Tensor, "batch heads key value"] | None = None,
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state, differentiable in every operand. There must be a `library`."""
    state = _state(operands, initial_state)
    return _Recurrence.apply(operands.erases, state, *operands.tensors)  # type: ignore[no-any-return,no-untyped-call]


def states(
    operands: Operands,
    before: Sequence[int],
    initial_state: Float[Tensor, "batch heads key value"] | None = None,
) -> Float[Tensor, "batch marks heads key value"]:
    """The states before the given steps, in ascending order; the number of steps stands for the final state.

    Not differentiable.
    """
    with torch.no_grad():
        *_, kept = _forward(operands.each(Tensor.contiguous), _state(operands, initial_state).clone(), before)
    return kept


def _state(operands: Operands, initial_state: Tensor | None) -> Tensor:
    if initial_state is not None:
        return initial_state.float()
    batch, _, heads, value = operands.v.shape
    return operands.v.new_zeros(batch, heads, operands.k.shape[-1], value)


def _call(operands: Operands) -> tuple[Any, int, int, int]:
    """What every loop is given first: sizes, whether decays are a channel's own, what is erased, threads."""
    sizes = (ctypes.c_int64 * 9)(*operands.v.shape[:3], operands.k.shape[-1], operands.v.shape[-1], *groups(operands))
    kind = _NOTHING if not operands.erases else _WRITTEN if operands.erase is None else _OTHER
    return sizes, operands.log_decay.shape[-1] != 1, kind, build.threads()


def groups(operands: Operands) -> list[int]:
    """How many heads q, k, probe and erase have; 1 for what is not there."""
    return [1 if x is None else x.shape[2] for x in (operands.q, operands.k, operands.probe, operands.erase)]


def _pointers(operands: Operands) -> list[int | None]:
    return [build.pointer(x) for x in operands.tensors]


def _forward(
    operands: Operands, state: Float[Tensor, "batch heads key value"], before: Sequence[int] = ()
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, the final state (`state`, overwritten) and the states that were asked for."""
    found = library()
    assert found is not None
    out = torch.empty_like(operands.v)
    batch, heads, key, value = state.shape
    kept = operands.v.new_empty(batch, len(before), heads, key, value)
    marks = (ctypes.c_int64 * len(before))(*before)
    found.recurrence_forward(
        *_call(operands), *_pointers(operands), state.data_ptr(), marks, len(before), kept.data_ptr(), out.data_ptr()
    )
    return out, state, kept


class _Recurrence(torch.autograd.Function):
    """Keeps the state before every stretch of steps; the backward pass runs the stretches again."""

    @staticmethod
    def forward(ctx: Any, erases: bool, initial_state: Tensor, *inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        operands = _operands(inputs, erases).each(Tensor.contiguous)
        found = library()
        assert found is not None
        before = range(0, operands.v.shape[1], found.recurrence_stretch()) if any(ctx.needs_input_grad) else ()
        state = initial_state.clone(memory_format=torch.contiguous_format)
        out, final, kept = _forward(operands, state, before)
        ctx.save_for_backward(*operands.tensors, kept)
        ctx.erases = erases
        return out, final

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: Tensor, grad_final: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, kept = ctx.saved_tensors
        operands = _operands(inputs, ctx.erases)
        found = library()
        assert found is not None
        batch, time, heads, _ = operands.v.shape
        a_head = operands.v.new_zeros(batch, time, heads, operands.k.shape[-1])
        grad_q, grad_k = torch.zeros_like(a_head), torch.zeros_like(a_head)
        grad_v, grad_decay = torch.zeros_like(operands.v), torch.zeros_like(operands.log_decay)
        grad_write, grad_probe, grad_erase = (
            None if x is None else torch.zeros_like(like)
            for x, like in ((operands.write, operands.v[..., 0]), (operands.probe, a_head), (operands.erase, a_head))
        )
        grad_state = grad_final.clone(memory_format=torch.contiguous_format)
        gradients = (grad_state, grad_q, grad_k, grad_v, grad_decay, grad_write, grad_probe, grad_erase)
        grad_out = grad_out.contiguous()
        found.recurrence_backward(
            *_call(operands), *_pointers(operands), kept.data_ptr(), grad_out.data_ptr(),
            *(build.pointer(x) for x in gradients),
        )  # fmt: skip
        return (
            None,
            grad_state,
            *(_of_groups(grad, x) for grad, x in ((grad_q, operands.q), (grad_k, operands.k))),
            grad_v,
            grad_decay,
            grad_write,
            *(_of_groups(grad, x) for grad, x in ((grad_probe, operands.probe), (grad_erase, operands.erase))),
        )


def _operands(inputs: Sequence[Tensor | None], erases: bool) -> Operands:
    q, k, v, log_decay, write, probe, erase = inputs
    assert q is not None and k is not None and v is not None and log_decay is not None
    return Operands(q, k, v, log_decay, write, probe, erase, erases)


def _of_groups(grad: Tensor | None, operand: Tensor | None) -> Tensor | None:
    """Sums a gradient a head over the heads that share a group."""
    if grad is None or operand is None or grad.shape == operand.shape:
        return grad
    shared: Tensor = grad.unflatten(2, (operand.shape[2], -1))
    return shared.sum(3)
