"""Attention patterns of chosen queries: what the outputs, the entries and the statistics of softmax are read from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.kernels.blocking import BLOCK_ELEMENTS, blocks
from workbench.kernels.forms import Softmax
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype


def take_queries(form: Softmax, query: Int[Tensor, "#batch queries"]) -> Softmax:
    """The form with only the listed queries, each with what it may look at spelled out in the mask."""
    batch, time = form.q.shape[:2]
    source = form.k.shape[1]
    query = query.expand(batch, -1)
    sequence = torch.arange(batch, device=query.device)[:, None]

    def taken(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        rows = sequence if x.shape[0] == batch else torch.zeros_like(sequence)
        return x.transpose(1, 2)[rows, query].transpose(1, 2)

    mask = taken(form.mask)
    if mask is None:
        last = query + (source - time)
        mask = (torch.arange(source, device=query.device) <= last[..., None])[:, None]
    return replace(form, q=form.q[sequence, query], mask=mask, bias=taken(form.bias))


def scores(form: Softmax) -> Float[Tensor, "batch heads time source"]:
    """Scores before the softmax, without copying shared keys per head; the lowest finite number where it may not look.

    Not -inf: a row without any finite score would have no softmax, and exponentials of -inf are slow on a CPU.
    """
    dtype = compute_dtype(form.q, form.k, form.v, form.bias)
    batch, time, heads, key = form.q.shape
    source, groups = form.k.shape[1:3]
    if heads % groups:
        raise ValueError(f"{heads} heads cannot share {groups} groups: the groups must divide the heads")
    q = form.q.to(dtype).transpose(1, 2).reshape(batch, groups, -1, key)
    k = form.k.to(dtype).permute(0, 2, 3, 1)
    result = (form.scale * (q @ k)).view(batch, heads, time, source)
    lowest = torch.finfo(dtype).min
    if form.softcap is not None:
        result = form.softcap * torch.tanh(result / form.softcap)
    if form.bias is not None:
        result = (result + form.bias.to(dtype)).clamp(min=lowest)  # a bias of -inf is a mask, too
    mask = form.mask
    if mask is None:
        mask = torch.ones(time, source, dtype=torch.bool, device=result.device).tril(source - time)
    return result.masked_fill(~mask, lowest)


def pattern(form: Softmax) -> Float[Tensor, "batch heads time source"]:
    """The attention pattern; a row that may look nowhere is zero, and a sink's share of a row is left out."""
    logits = scores(form)
    if logits.shape[-1] == 0:
        return logits
    if form.sinks is None:
        weights = torch.softmax(logits, dim=-1)
    else:
        sinks = form.sinks.to(logits.dtype)[:, None, None].expand(*logits.shape[:-1], 1)
        weights = torch.softmax(torch.cat([logits, sinks], dim=-1), dim=-1)[..., :-1]
    if form.mask is None and form.bias is None and logits.shape[-2] <= logits.shape[-1]:
        return weights  # every query may look at least at itself
    closed = logits.detach().amax(-1, keepdim=True) <= torch.finfo(logits.dtype).min
    return weights.masked_fill(closed, 0)


def pattern_blocks(
    form: Softmax, budget: int = BLOCK_ELEMENTS
) -> Iterator[tuple[slice, Float[Tensor, "batch heads rows source"]]]:
    """The pattern a few queries at a time, with the slice of time they cover."""
    batch, time, heads = form.q.shape[:3]
    source = form.k.shape[1]
    for span in blocks(time, batch * heads * source, budget):
        # Queries are the last of the sources, so a causal block reads only what came before its end.
        seen = source if form.mask is not None else source - time + span.stop
        part = replace(
            form,
            q=form.q[:, span],
            k=form.k[:, :seen],
            v=form.v[:, :seen],
            mask=None if form.mask is None else form.mask[:, :, span],
            bias=None if form.bias is None else form.bias[:, :, span, :seen],
        )
        yield span, pattern(part)


def apply_pattern(
    weights: Float[Tensor, "batch heads time source"], v: Float[Tensor, "batch source groups value"]
) -> Float[Tensor, "batch time heads value"]:
    """``o = A v``, in the dtype of `v`."""
    values = spread(v, weights.shape[1], dim=2).to(weights.dtype).transpose(1, 2)
    return (weights @ values).transpose(1, 2).to(v.dtype)
