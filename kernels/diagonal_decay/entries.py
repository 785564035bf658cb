"""Entries of A under diagonal decay: ``A[t, s] = write_s sum_n q_t[n] k_s[n] exp(rate[n] (G_t[n] - G_s[n]))``."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.kernels.blocking import blocks
from workbench.kernels.diagonal_decay.chunked import factor, summed
from workbench.kernels.forms import DiagonalDecay
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype


def pairs(
    form: DiagonalDecay, query: Int[Tensor, "#batch pairs"], key: Int[Tensor, "#batch pairs"]
) -> Float[Tensor, "batch heads pairs"]:
    """A at the listed places; 0 where the key comes after the query."""
    dtype = compute_dtype(form.q, form.k, form.log_decay, form.rate, form.write)
    batch, heads, width = form.q.shape[0], form.heads, form.k.shape[-1]
    query, key = query.expand(batch, -1), key.expand(batch, -1)
    sequence = torch.arange(batch, device=form.q.device)[:, None]
    total = summed(form)
    parts = []
    for span in blocks(query.shape[1], batch * heads * width):
        t, s = query[:, span], key[:, span]
        future = (s > t)[:, None]
        product = spread(form.q[sequence, t].to(dtype) * form.k[sequence, s].to(dtype), heads, dim=2).transpose(1, 2)
        between = (total[sequence, t] - total[sequence, s]).transpose(1, 2).masked_fill(future[..., None], 0)
        value = (factor(between, form.rate, dtype) * product).sum(-1)
        if form.write is not None:
            value = value * form.write[sequence, s].to(dtype).transpose(1, 2)
        parts.append(value.masked_fill(future, 0))
    return torch.cat(parts, dim=2)


def _cross(
    form: DiagonalDecay, query: Int[Tensor, "#batch queries"], key: Int[Tensor, "#batch keys"]
) -> Float[Tensor, "batch heads queries keys"]:
    """A at every combination of the listed queries and keys."""
    batch, count = form.q.shape[0], key.shape[-1]
    query, key = query.expand(batch, -1), key.expand(batch, -1)
    parts = []
    for span in blocks(query.shape[1], batch * form.heads * count):
        t = query[:, span]
        listed = t[..., None].expand(-1, -1, count).flatten(1)
        value = pairs(form, listed, key[:, None].expand(-1, t.shape[1], -1).flatten(1))
        parts.append(value.view(batch, form.heads, t.shape[1], count))
    return torch.cat(parts, dim=2)


def rows(form: DiagonalDecay, query: Int[Tensor, "#batch queries"]) -> Float[Tensor, "batch heads queries source"]:
    """The listed rows of A."""
    return _cross(form, query, torch.arange(form.v.shape[1], device=query.device)[None])


def columns(form: DiagonalDecay, key: Int[Tensor, "#batch keys"]) -> Float[Tensor, "batch heads time keys"]:
    """The listed columns of A."""
    return _cross(form, torch.arange(form.v.shape[1], device=key.device)[None], key)
