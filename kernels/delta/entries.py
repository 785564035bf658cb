"""Entries of A under the delta rule: queries carried backwards through the chunks, or sources carried forwards."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.kernels.blocking import blocks
from workbench.kernels.delta.chunked import CHUNK, form_dtype, stretches
from workbench.kernels.delta.maps import Maps, maps
from workbench.kernels.forms import Delta


def pairs(
    form: Delta, query: Int[Tensor, "#batch pairs"], key: Int[Tensor, "#batch pairs"]
) -> Float[Tensor, "batch heads pairs"]:
    """A at the listed places; 0 where the key comes after the query.

    Each pair costs as many products with a chunk's transition as chunks lie between its query and its key.
    """
    batch, _, heads, _ = form.v.shape
    query, key = query.expand(batch, -1), key.expand(batch, -1)
    spans = blocks(query.shape[1], batch * heads * (form.k.shape[-1] + CHUNK))
    return torch.cat([_pairs(form, query[:, span], key[:, span]) for span in spans], dim=2)


def _pairs(
    form: Delta, query: Int[Tensor, "batch pairs"], key: Int[Tensor, "batch pairs"]
) -> Float[Tensor, "batch heads pairs"]:
    carried = _nothing(form, query)
    values = carried.new_zeros(carried.shape[:3])
    for stretch in stretches(form, form_dtype(form), reverse=True):
        across = maps(stretch)
        carried = torch.where(_inside(across, query)[:, None, :, None], _pick(across, across.queries, query), carried)
        own_rows = _pick(across, across.matrix, query)
        step = (key - across.span.start).clamp(min=0) % across.length
        own = own_rows.gather(-1, step[:, None, :, None].expand(*own_rows.shape[:3], 1))[..., 0]
        sources = _pick(across, across.keys.mT, key)
        for index in reversed(range(across.count)):
            start, stop = _borders(across, index)
            here = (key >= start) & (key < stop)
            values = torch.where((here & (query >= start) & (query < stop))[:, None], own, values)
            # Only what is on its way from its query to its key: of neighbours hardly any cross a border.
            moving = ((query >= stop) & (key < stop)).any(0).nonzero()[:, 0]
            if len(moving):
                late, arrived = query[:, moving] >= stop, here[:, moving]
                looking = carried[:, :, moving]
                found = (looking * sources[:, :, moving]).sum(-1)
                found = torch.where((late & arrived)[:, None], found, values[:, :, moving])
                values = values.index_copy(2, moving, found)
                looking = torch.where(late[:, None, :, None], looking @ across.transition[:, :, index], looking)
                carried = carried.index_copy(2, moving, looking)
    return values


def rows(form: Delta, query: Int[Tensor, "#batch queries"]) -> Float[Tensor, "batch heads queries source"]:
    """The listed rows of A."""
    batch, _, heads, _ = form.v.shape
    query = query.expand(batch, -1)
    spans = blocks(query.shape[1], batch * heads * (form.k.shape[-1] + CHUNK))
    return torch.cat([_rows(form, query[:, span]) for span in spans], dim=2)


def _rows(form: Delta, query: Int[Tensor, "batch queries"]) -> Float[Tensor, "batch heads queries source"]:
    carried = _nothing(form, query)
    parts = [carried[..., :0]]
    for stretch in stretches(form, form_dtype(form), reverse=True):
        across = maps(stretch)
        carried = torch.where(_inside(across, query)[:, None, :, None], _pick(across, across.queries, query), carried)
        own = _pick(across, across.matrix, query)
        for index in reversed(range(across.count)):
            start, stop = _borders(across, index)
            late = (query >= stop)[:, None, :, None]
            # A query of this chunk looks at its own block, and is carried further from the chunk's start.
            inside = own.masked_fill((query < start)[:, None, :, None], 0)
            parts.append(torch.where(late, carried @ across.keys[:, :, index], inside))
            carried = torch.where(late, carried @ across.transition[:, :, index], carried)
    return torch.cat(parts[::-1], dim=-1)[..., : form.v.shape[1]]


def columns(form: Delta, key: Int[Tensor, "#batch keys"]) -> Float[Tensor, "batch heads time keys"]:
    """The listed columns of A."""
    batch, _, heads, _ = form.v.shape
    key = key.expand(batch, -1)
    spans = blocks(key.shape[1], batch * heads * (form.k.shape[-1] + CHUNK))
    return torch.cat([_columns(form, key[:, span]) for span in spans], dim=2).mT


def _columns(form: Delta, key: Int[Tensor, "batch keys"]) -> Float[Tensor, "batch heads keys time"]:
    carried = _nothing(form, key)
    parts = [carried[..., :0]]
    for stretch in stretches(form, form_dtype(form)):
        across = maps(stretch)
        carried = torch.where(_inside(across, key)[:, None, :, None], _pick(across, across.keys.mT, key), carried)
        own = _pick(across, across.matrix.mT, key)
        for index in range(across.count):
            start, stop = _borders(across, index)
            early = (key < start)[:, None, :, None]
            inside = own.masked_fill((key >= stop)[:, None, :, None], 0)
            parts.append(torch.where(early, carried @ across.queries[:, :, index].mT, inside))
            carried = torch.where(early, carried @ across.transition[:, :, index].mT, carried)
    return torch.cat(parts, dim=-1)[..., : form.v.shape[1]]


def _nothing(form: Delta, positions: Int[Tensor, "batch n"]) -> Float[Tensor, "batch heads n key"]:
    """A place for what is carried."""
    shape = (*positions.shape[:1], form.heads, positions.shape[1], form.k.shape[-1])
    return form.q.new_zeros(shape, dtype=form_dtype(form))


def _borders(across: Maps, index: int) -> tuple[int, int]:
    """The first step of a chunk and the first after it."""
    start = across.span.start + index * across.length
    return start, start + across.length


def _inside(across: Maps, positions: Int[Tensor, "batch n"]) -> Bool[Tensor, "batch n"]:
    return torch.logical_and(positions >= across.span.start, positions < across.span.stop)


def _pick(
    across: Maps, steps: Float[Tensor, "batch heads chunks step m"], positions: Int[Tensor, "batch n"]
) -> Float[Tensor, "batch heads n m"]:
    """What belongs to the steps at the positions; anything where a position is outside the stretch."""
    index = (positions - across.span.start).clamp(0, across.count * across.length - 1)
    index = index[:, None, :, None].expand(-1, steps.shape[1], -1, steps.shape[-1])
    return steps.flatten(2, 3).gather(2, index)
