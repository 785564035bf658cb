"""Entries of A under diagonal decay: ``A[t, s] = write_s sum_n q_t[n] k_s[n] exp(rate[n] (G_t[n] - G_s[n]))``."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from workbench.kernels.blocking import blocks
from workbench.kernels.diagonal_decay.chunked import backwards, factor, summed
from workbench.kernels.diagonal_decay.pairs import pairs
from workbench.kernels.forms import DiagonalDecay
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype

__all__ = ["columns", "pairs", "rows"]

BLOCK = 64


def rows(form: DiagonalDecay, query: Int[Tensor, "#batch queries"]) -> Float[Tensor, "batch heads queries source"]:
    """The listed rows of A.

    Sources are read a block at a time, anchored at the block's end, so that one exponential a query and block replaces
    one a query and source. The block that holds the query itself is computed pair by pair.
    """
    batch, _, heads, _ = form.v.shape
    query = query.expand(batch, -1)
    spans = blocks(query.shape[1], batch * heads * (form.k.shape[-1] + BLOCK))
    return torch.cat([_rows(form, query[:, span]) for span in spans], dim=2)


def _rows(form: DiagonalDecay, query: Int[Tensor, "batch queries"]) -> Float[Tensor, "batch heads queries source"]:
    dtype = compute_dtype(form.q, form.k, form.log_decay, form.rate, form.write)
    batch, time, heads = form.v.shape[:3]
    sequence = torch.arange(batch, device=form.q.device)[:, None]
    total = summed(form).transpose(1, 2)
    q = spread(form.q[sequence, query].to(dtype), heads, dim=2).transpose(1, 2)
    reached = total.transpose(1, 2)[sequence, query].transpose(1, 2)
    parts = []
    # What comes after the last query is read by none of them.
    newest = int(query.max()) + 1 if query.numel() else 1
    for start in range(0, newest, BLOCK):
        span = slice(start, min(start + BLOCK, time))
        border = total[:, :, span.stop - 1 : span.stop]
        k = spread(form.k[:, span].to(dtype).transpose(1, 2), heads, dim=1)
        k = k * factor(border - total[:, :, span], form.rate, dtype)
        if form.write is not None:
            k = k * form.write[:, span].to(dtype).transpose(1, 2)[..., None]
        outside = (query < span.stop)[:, None, :, None]
        # Masked before the exponential: for a query before the border the difference is positive.
        later = q * factor((reached - border).masked_fill(outside, 0), form.rate, dtype)
        parts.append((later @ k.mT).masked_fill(outside, 0))
    own = query[..., None] // BLOCK * BLOCK + torch.arange(BLOCK, device=query.device)
    listed = own.clamp(max=time - 1).flatten(1)
    values = pairs(form, query[..., None].expand_as(own).flatten(1), listed).unflatten(2, own.shape[1:])
    # Padded to whole blocks and cut after the scatter: a place written twice would be differentiated twice.
    result = torch.cat(parts, dim=-1)
    result = pad(result, (0, time + -time % BLOCK - result.shape[-1]))
    return result.scatter(-1, own[:, None].expand_as(values), values)[..., :time]


def columns(form: DiagonalDecay, key: Int[Tensor, "#batch keys"]) -> Float[Tensor, "batch heads time keys"]:
    """The listed columns of A: the rows of its transpose."""
    batch, time = form.v.shape[:2]
    result = rows(backwards(form), time - 1 - key).flip(-1).mT
    if form.write is None:
        return result
    sequence = torch.arange(batch, device=key.device)[:, None]
    return result * form.write[sequence, key.expand(batch, -1)].to(result.dtype).transpose(1, 2)[:, :, None]
