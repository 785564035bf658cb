"""Scalar decay in chunks: matrix products inside a chunk, one state between chunks.

The chunked form of structured state-space duality (Dao and Gu 2024, arXiv:2405.21060, section 6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import ScalarDecay
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype, decay_factor, decays_between, running_sum

CHUNK = 64


@dataclass(frozen=True)
class Chunk:
    """One stretch of time, heads first; every decay factor in it is at most 1.

    Attributes:
        q, k: operands, one entry a head.
        matrix: the chunk's own block of A, `write` included.
        since_start: decay from the chunk's start up to each step.
        until_end: decay from each step to the chunk's end, times `write`.
        total: decay over the whole chunk.
    """

    span: slice
    q: Float[Tensor, "batch heads step key"]
    k: Float[Tensor, "batch heads step key"]
    matrix: Float[Tensor, "batch heads step source"]
    since_start: Float[Tensor, "batch heads step"]
    until_end: Float[Tensor, "batch heads step"]
    total: Float[Tensor, "batch heads"]


def chunks(form: ScalarDecay, dtype: torch.dtype, length: int = CHUNK) -> Iterator[Chunk]:
    """Cut the form into chunks, in order of time."""
    heads, time = form.heads, form.v.shape[1]
    for start in range(0, time, length):
        span = slice(start, min(start + length, time))
        q, k = (x[:, span].to(dtype).transpose(1, 2) for x in (form.q, form.k))
        total = running_sum(form.log_decay[:, span].transpose(1, 2), dim=-1)
        matrix = spread(q @ k.mT, heads, dim=1) * decays_between(total, dtype)
        until_end = decay_factor((total[..., -1:] - total).to(dtype))
        if form.write is not None:
            write = form.write[:, span].to(dtype).transpose(1, 2)
            matrix = matrix * write[..., None, :]
            until_end = until_end * write
        yield Chunk(
            span=span,
            q=spread(q, heads, dim=1),
            k=spread(k, heads, dim=1),
            matrix=matrix,
            since_start=decay_factor(total.to(dtype)),
            until_end=until_end,
            total=decay_factor(total[..., -1].to(dtype)),
        )


def backwards(form: ScalarDecay) -> ScalarDecay:
    """The form whose matrix is A transposed, with time running backwards and `write` left out."""
    # Step t of the forward scan decays what came before it; backwards, that decay stands between t and t - 1.
    decay = torch.cat([torch.zeros_like(form.log_decay[:, :1]), form.log_decay[:, 1:].flip(1)], dim=1)
    return replace(form, q=form.k.flip(1), k=form.q.flip(1), log_decay=decay, write=None)


def forward(
    form: ScalarDecay, initial_state: Float[Tensor, "batch heads key value"] | None = None
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state, differentiable; the state is float32 (float64 for float64 operands)."""
    dtype = compute_dtype(form.q, form.k, form.v, form.log_decay, form.write, initial_state)
    batch, _, heads, value = form.v.shape
    if initial_state is None:
        state = form.v.new_zeros(batch, heads, form.k.shape[-1], value, dtype=dtype)
    else:
        state = initial_state.to(dtype)
    outputs = []
    for chunk in chunks(form, dtype):
        v = form.v[:, chunk.span].to(dtype).transpose(1, 2)
        carried = (chunk.q @ state) * chunk.since_start[..., None]
        outputs.append((chunk.matrix @ v + carried).transpose(1, 2))
        state = chunk.total[..., None, None] * state + (chunk.k * chunk.until_end[..., None]).mT @ v
    return (torch.cat(outputs, dim=1) if outputs else form.v).to(form.v.dtype), state
