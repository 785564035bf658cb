"""Listed entries of A under diagonal decay: places that lie together share their exponentials.

One place alone takes an exponential a channel. Of many places most lie on two sides of a common border: a destination
decays from the border, a source to it, both by factors of at most 1, and one matrix product then gives every place of
the rectangle between them. A head finder that asks for a band of a Mamba, where each of a thousand channels is a head,
would spend nine tenths of its time on exponentials otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.kernels.blocking import BLOCK_ELEMENTS, blocks
from workbench.kernels.diagonal_decay.chunked import factor, summed
from workbench.kernels.forms import DiagonalDecay
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype

PRODUCT_COST = 1 / 8
"""Of a multiplication in a matrix product, beside an exponential with the passes over memory around it."""

SET_UP = 2**17
"""Exponentials that take as long as finding one rectangle and reading it: fewer are computed one by one."""


def pairs(
    form: DiagonalDecay, query: Int[Tensor, "#batch pairs"], key: Int[Tensor, "#batch pairs"]
) -> Float[Tensor, "batch heads pairs"]:
    """A at the listed places; 0 where the key comes after the query."""
    batch, total = form.v.shape[0], summed(form)
    if query.shape[0] > 1 or key.shape[0] > 1:  # other places in every sequence
        return _one_by_one(form, total, query.expand(batch, -1), key.expand(batch, -1))
    result = total.new_empty(batch, form.heads, query.shape[1], dtype=_dtype(form))
    alone = torch.ones_like(query[0], dtype=torch.bool)
    for chosen, border in _rectangles(query[0], key[0], batch * form.heads * form.k.shape[-1]):
        alone[chosen] = False
        for heads in blocks(form.heads, batch * len(chosen) * (form.k.shape[-1] + 2)):
            result[:, heads, chosen] = _across(form, total, query[0, chosen], key[0, chosen], border, heads)
    rest = alone.nonzero()[:, 0]
    result[:, :, rest] = _one_by_one(form, total, query[:, rest].expand(batch, -1), key[:, rest].expand(batch, -1))
    return result


def _rectangles(query: Int[Tensor, " pairs"], key: Int[Tensor, " pairs"], each: int) -> Iterator[tuple[Tensor, int]]:
    """Sets of places around a border, ``key < border <= query``, that are worth a matrix product; each place once.

    A place alone takes `each` exponentials.

    The highest bit in which the two differ says which border a place belongs to: the numbers that share all bits above
    it are cut in two halves there.
    """
    # A float's exponent is the place of the highest bit; positions are far below where float64 rounds.
    level = torch.frexp((query ^ key).double()).exponent.to(query.dtype) - 1
    place = torch.where(key < query, (query >> level.clamp(min=0)) * 64 + level, -1)
    for code, count in zip(*(found.tolist() for found in place.unique(return_counts=True)), strict=True):
        if code < 0 or count * each < SET_UP:
            continue
        chosen = (place == code).nonzero()[:, 0]
        destinations, sources = len(query[chosen].unique()), len(key[chosen].unique())
        if PRODUCT_COST * destinations * sources + destinations + sources < count:
            yield chosen, (code // 64) << (code % 64)


def _across(
    form: DiagonalDecay,
    total: Float[Tensor, "batch time heads key_or_one"],
    query: Int[Tensor, " pairs"],
    key: Int[Tensor, " pairs"],
    border: int,
    heads: slice,
) -> Float[Tensor, "batch some pairs"]:
    """Entries of some heads at places around a border, through the rectangle that they lie in."""
    dtype = _dtype(form)
    rate = None if form.rate is None else form.rate[heads]
    destinations, row = query.unique(return_inverse=True)
    sources, column = key.unique(return_inverse=True)
    anchor = total[:, border - 1, heads].unsqueeze(2)

    def of(x: Tensor, at: Int[Tensor, " places"]) -> Float[Tensor, "batch some places key"]:
        return spread(x[:, at].to(dtype), form.heads, dim=2)[:, :, heads].transpose(1, 2)

    def reached(at: Int[Tensor, " places"]) -> Float[Tensor, "batch some places key_or_one"]:
        return total[:, at, heads].transpose(1, 2)

    later = of(form.q, destinations) * factor(reached(destinations) - anchor, rate, dtype)
    earlier = of(form.k, sources) * factor(anchor - reached(sources), rate, dtype)
    if form.write is not None:
        earlier = earlier * form.write[:, sources, heads].to(dtype).transpose(1, 2)[..., None]
    # The rectangle may be larger than the list of places in it.
    parts = [
        (later[:, some] @ earlier[:, some].mT)[:, :, row, column]
        for some in blocks(later.shape[1], len(later) * len(destinations) * len(sources), BLOCK_ELEMENTS)
    ]
    return torch.cat(parts, dim=1)


def _one_by_one(
    form: DiagonalDecay,
    total: Float[Tensor, "batch time heads key_or_one"],
    query: Int[Tensor, "batch pairs"],
    key: Int[Tensor, "batch pairs"],
) -> Float[Tensor, "batch heads pairs"]:
    dtype = _dtype(form)
    batch, heads, width = form.q.shape[0], form.heads, form.k.shape[-1]
    sequence = torch.arange(batch, device=form.q.device)[:, None]
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


def _dtype(form: DiagonalDecay) -> torch.dtype:
    return compute_dtype(form.q, form.k, form.log_decay, form.rate, form.write)
