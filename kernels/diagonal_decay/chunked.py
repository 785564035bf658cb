"""Diagonal decay in chunks, for wide values by matrix products and for narrow ones by a lean loop.

With V wide (GLA, HGRN2) a chunk's block of A is built and multiplied (Yang et al. 2024, arXiv:2312.06635, section 4).
With V narrow, as in Mamba-1 where V = 1, building that block costs more than the recurrence itself, so the recurrence
is run, with everything but the one multiply-add a step computed a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from workbench.kernels.diagonal_decay.scan import linear_scan
from workbench.kernels.forms import DiagonalDecay
from workbench.kernels.grouping import spread
from workbench.kernels.precision import LOWEST_LOG_DECAY, compute_dtype, decay_factor, running_sum, step_factor

CHUNK = 64
NARROW_VALUE = 8
SMALLEST_RATE = 1e-6
LOOP_ELEMENTS = 2**18  # states of one pass of the lean loop: they should stay in the cache


@dataclass(frozen=True)
class Chunk:
    """One stretch of time, heads first; every decay factor in it is at most 1.

    Attributes:
        matrix: the chunk's own block of A, `write` included.
        queries: queries decayed from the chunk's start.
        keys: keys decayed to the chunk's end, `write` included.
        total: decay over the whole chunk.
    """

    span: slice
    matrix: Float[Tensor, "batch heads step source"]
    queries: Float[Tensor, "batch heads step key"]
    keys: Float[Tensor, "batch heads step key"]
    total: Float[Tensor, "batch heads key"]


def factor(
    log_decay: Float[Tensor, "batch heads *step key_or_one"],
    rate: Float[Tensor, "heads key"] | None,
    dtype: torch.dtype,
) -> Float[Tensor, "batch heads *step key"]:
    """The decay of a difference of running sums, heads in dimension 1, rounded to `dtype` before the exponential."""
    log_decay = log_decay.to(dtype)
    if rate is None:
        return decay_factor(log_decay)
    shape = (rate.shape[0], *[1] * (log_decay.ndim - 3), rate.shape[1])
    return decay_factor(log_decay * rate.to(dtype).view(shape))


def summed(form: DiagonalDecay, span: slice = slice(None)) -> Float[Tensor, "batch time heads key_or_one"]:
    """Running sums of the form's log decays over a stretch of time, before `rate`."""
    lowest = LOWEST_LOG_DECAY
    if form.rate is not None:
        # What is left out has to be nothing after the smallest rate, too; a rate near 0 forgets only what is very old.
        lowest /= max(float(form.rate.detach().min()), SMALLEST_RATE) if form.rate.numel() else 1.0
    return running_sum(form.log_decay[:, span], dim=1, lowest=lowest)


def block(
    q: Float[Tensor, "batch heads step key"],
    k: Float[Tensor, "batch heads step key"],
    total: Float[Tensor, "batch heads step key_or_one"],
    rate: Float[Tensor, "heads key"] | None,
) -> Float[Tensor, "batch heads step step"]:
    """``sum_n q_t[n] k_s[n] exp(rate[n] (total_t[n] - total_s[n]))`` for s <= t, zero above the diagonal.

    ``exp(total_t) exp(-total_s)`` would overflow. But a later half and the half before it can be anchored at their
    border, where both factors are at most 1. So blocks of one step, which hold no decay, are doubled, one matrix
    product a doubling, until they span all steps.
    """
    dtype, steps = q.dtype, q.shape[2]
    padded = 1 << (steps - 1).bit_length()
    if padded != steps:
        # Repeating the last sum keeps every difference at or below zero.
        total = torch.cat([total, total[:, :, -1:].expand(-1, -1, padded - steps, -1)], dim=2)
        q, k = (pad(x, (0, 0, 0, padded - steps)) for x in (q, k))
    result = (q * k).sum(-1)[..., None, None]
    size = 1
    while size < padded:
        shape = (*q.shape[:2], -1, 2, size)
        q_, k_, total_ = (x.reshape(*shape, x.shape[-1]) for x in (q, k, total))
        border = total_[..., 0, -1:, :]
        later = q_[..., 1, :, :] * factor(total_[..., 1, :, :] - border, rate, dtype)
        earlier = k_[..., 0, :, :] * factor(border - total_[..., 0, :, :], rate, dtype)
        first, second = result[..., 0::2, :, :], result[..., 1::2, :, :]
        upper = torch.cat([first, torch.zeros_like(first)], dim=-1)
        result = torch.cat([upper, torch.cat([later @ earlier.mT, second], dim=-1)], dim=-2)
        size *= 2
    return result[:, :, 0, :steps, :steps]


def chunks(form: DiagonalDecay, dtype: torch.dtype, length: int = CHUNK) -> Iterator[Chunk]:
    """Cut the form into chunks, in order of time."""
    heads, time = form.heads, form.v.shape[1]
    for start in range(0, time, length):
        span = slice(start, min(start + length, time))
        q, k = (spread(x[:, span].to(dtype).transpose(1, 2), heads, dim=1) for x in (form.q, form.k))
        total = summed(form, span).transpose(1, 2)
        if form.write is not None:
            k = k * form.write[:, span].to(dtype).transpose(1, 2)[..., None]
        yield Chunk(
            span=span,
            matrix=block(q, k, total, form.rate),
            queries=q * factor(total, form.rate, dtype),
            keys=k * factor(total[:, :, -1:] - total, form.rate, dtype),
            total=factor(total[:, :, -1:], form.rate, dtype)[:, :, 0],
        )


def backwards(form: DiagonalDecay) -> DiagonalDecay:
    """The form whose matrix is A transposed, with time running backwards and `write` left out."""
    # Step t of the forward scan decays what came before it; backwards, that decay stands between t and t - 1.
    decay = torch.cat([torch.zeros_like(form.log_decay[:, :1]), form.log_decay[:, 1:].flip(1)], dim=1)
    return replace(form, q=form.k.flip(1), k=form.q.flip(1), log_decay=decay, write=None)


def forward(
    form: DiagonalDecay, initial_state: Float[Tensor, "batch heads key value"] | None = None
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state, differentiable; the state is float32 (float64 for float64 operands)."""
    dtype = compute_dtype(form.q, form.k, form.v, form.log_decay, form.rate, form.write, initial_state)
    batch, _, heads, value = form.v.shape
    if initial_state is None:
        state = form.v.new_zeros(batch, heads, form.k.shape[-1], value, dtype=dtype)
    else:
        state = initial_state.to(dtype)
    if value <= NARROW_VALUE:
        return _loop(form, state)
    outputs = []
    for chunk in chunks(form, dtype):
        v = form.v[:, chunk.span].to(dtype).transpose(1, 2)
        outputs.append((chunk.matrix @ v + chunk.queries @ state).transpose(1, 2))
        state = chunk.total[..., None] * state + chunk.keys.mT @ v
    return (torch.cat(outputs, dim=1) if outputs else form.v).to(form.v.dtype), state


def _loop(
    form: DiagonalDecay, state: Float[Tensor, "batch heads key value"]
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """The recurrence with one multiply-add a step; time comes first, so that a step is contiguous."""
    dtype, heads = state.dtype, form.heads
    if not form.time:
        return form.v, state
    v = form.v.to(dtype) if form.write is None else form.v.to(dtype) * form.write.to(dtype)[..., None]
    rate = None if form.rate is None else form.rate.to(dtype)
    operands = (form.q, form.k, v, form.log_decay, rate, state)
    recorded = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in operands)
    length = min(CHUNK, max(1, LOOP_ELEMENTS // max(1, state.numel())))
    outputs = []
    # Split, not sliced: the derivative of every slice is as large as the whole. Along the first dimension the pieces
    # are put together again by one copy each.
    pieces = (x.transpose(0, 1).split(length) for x in (form.q, form.k, v, form.log_decay))
    for chunk in zip(*pieces, strict=True):
        q, k, v, decay = (x.to(dtype) for x in chunk)
        decay = step_factor(decay if rate is None else decay * rate)[..., None]
        states = spread(k, heads, dim=2)[..., None] * v[..., None, :]
        if recorded:
            states, state = linear_scan(decay, states, state)
        else:
            for step, update in zip(decay.expand_as(states), states, strict=True):
                state = update.addcmul_(step, state)
        outputs.append(_read(q, states))
    # The last state is a view of a whole chunk's states: cloned, so that those can be freed.
    return torch.cat(outputs).transpose(0, 1).to(form.v.dtype), state.clone()


def _read(
    q: Float[Tensor, "time batch groups key"], states: Float[Tensor, "time batch heads key value"]
) -> Float[Tensor, "time batch heads value"]:
    if q.shape[-1] == 1:
        return spread(q, states.shape[2], dim=2) * states[..., 0, :]
    # Heads that share a query read it together: one small matrix product a group instead of one a head.
    read = torch.einsum("tbgn,tbghnv->tbghv", q, states.unflatten(2, (q.shape[2], -1)))
    return read.flatten(2, 3)
