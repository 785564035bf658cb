"""Entries of A under scalar decay: ``A[t, s] = write_s (q_t . k_s) exp(G_t - G_s)`` for s <= t."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.kernels.blocking import blocks
from workbench.kernels.forms import ScalarDecay
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype, decay_factor, running_sum


def _operands(form: ScalarDecay) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, k, running sums of the log decays, and write."""
    dtype = compute_dtype(form.q, form.k, form.log_decay, form.write)
    total = running_sum(form.log_decay, dim=1)
    write = form.log_decay.new_ones(()).expand_as(form.log_decay) if form.write is None else form.write
    return form.q.to(dtype), form.k.to(dtype), total, write.to(dtype)


def pairs(
    form: ScalarDecay, query: Int[Tensor, "#batch pairs"], key: Int[Tensor, "#batch pairs"]
) -> Float[Tensor, "batch heads pairs"]:
    """A at the listed places; 0 where the key comes after the query."""
    q, k, total, write = _operands(form)
    batch = q.shape[0]
    query, key = query.expand(batch, -1), key.expand(batch, -1)
    sequence = torch.arange(batch, device=q.device)[:, None]
    parts = []
    for span in blocks(query.shape[1], batch * (form.heads + q.shape[2] * q.shape[3])):
        t, s = query[:, span], key[:, span]
        product = spread((q[sequence, t] * k[sequence, s]).sum(-1), form.heads, dim=2)
        future = (s > t)[..., None]
        between = (total[sequence, t] - total[sequence, s]).masked_fill(future, 0)
        parts.append((product * decay_factor(between.to(q.dtype)) * write[sequence, s]).masked_fill(future, 0))
    return torch.cat(parts, dim=1).transpose(1, 2)


def _cross(
    form: ScalarDecay, query: Int[Tensor, "#batch queries"], key: Int[Tensor, "#batch keys"]
) -> Float[Tensor, "batch heads queries keys"]:
    """A at every combination of the listed queries and keys, a block of queries at a time."""
    q, k, total, write = _operands(form)
    batch = q.shape[0]
    query, key = query.expand(batch, -1), key.expand(batch, -1)
    sequence = torch.arange(batch, device=q.device)[:, None]
    keys, sources = k[sequence, key].permute(0, 2, 3, 1), total[sequence, key].transpose(1, 2)
    weight = write[sequence, key].transpose(1, 2)
    parts = []
    for span in blocks(query.shape[1], batch * form.heads * key.shape[1]):
        t = query[:, span]
        product = spread(q[sequence, t].transpose(1, 2) @ keys, form.heads, dim=1)
        between = total[sequence, t].transpose(1, 2)[..., None] - sources[:, :, None]
        future = (key[:, None] > t[..., None])[:, None]
        decay = decay_factor(between.masked_fill(future, 0).to(q.dtype))
        parts.append((product * decay * weight[:, :, None]).masked_fill(future, 0))
    return torch.cat(parts, dim=2)


def rows(form: ScalarDecay, query: Int[Tensor, "#batch queries"]) -> Float[Tensor, "batch heads queries source"]:
    """The listed rows of A."""
    return _cross(form, query, torch.arange(form.v.shape[1], device=query.device)[None])


def columns(form: ScalarDecay, key: Int[Tensor, "#batch keys"]) -> Float[Tensor, "batch heads time keys"]:
    """The listed columns of A."""
    return _cross(form, torch.arange(form.v.shape[1], device=key.device)[None], key)
