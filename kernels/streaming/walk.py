"""Walks blocks of queries over the sources from right to left, for every form with a state.

A block is a stretch of steps as one linear map of the state before it. What its queries see of a block further left is
``carried @ keys``; to look beyond that one they are carried over it. So an entry is made from operands that were
decayed towards each other, by factors of at most 1, and is reduced as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.delta import chunked as delta
from workbench.kernels.delta.maps import maps
from workbench.kernels.diagonal_decay import chunked as diagonal_decay
from workbench.kernels.forms import Delta, DiagonalDecay, Reader, ScalarDecay
from workbench.kernels.precision import compute_dtype
from workbench.kernels.scalar_decay import chunked as scalar_decay
from workbench.kernels.streaming.bounds import reach
from workbench.kernels.streaming.result import Plan, Streamed
from workbench.kernels.streaming.tiles import Tiles, share

LENGTH = 128  # steps a block: for the delta rule four of its chunks
Carried = Float[Tensor, "batch heads rows key"]


@dataclass(frozen=True)
class Sources:
    """What later queries need of a block.

    Attributes:
        keys: sources carried to the block's end.
        transition: what carries a query over the block: a matrix, or factors in a shape that multiplies the queries.
    """

    span: slice
    keys: Float[Tensor, "batch heads key step"]
    transition: Float[Tensor, "batch heads before after"]
    factors: bool

    def carry(self, queries: Carried) -> Carried:
        """Later queries, carried over this block."""
        return queries * self.transition if self.factors else queries @ self.transition


@dataclass(frozen=True)
class Block:
    """A stretch of steps.

    Attributes:
        matrix: the block's own entries of A.
        queries: carried to the block's start.
    """

    matrix: Float[Tensor, "batch heads step step"]
    queries: Float[Tensor, "batch heads step key"]
    sources: Sources


def walked(form: Reader, plan: Plan) -> Streamed:
    """The reductions of a form's matrix, a block of rows at a time."""
    dtype = compute_dtype(form.q, form.k, form.log_decay, form.write, *_others(form))
    tiles = Tiles(plan, form.batch, form.heads, form.time, form.time, dtype, form.v.device)
    limit = reach(form) if plan.tolerance else None
    passed: list[Sources] = []
    for block in blocks(form, dtype):
        tiles.open(block.sources.span)
        tiles.add(block.matrix.tril(), block.sources.span)  # 0 times a NaN of a later step is none
        carried, missed = block.queries, None
        for sources in reversed(passed):
            if not carried.any():
                break
            if limit is not None:
                left = carried.norm(dim=-1) * limit[..., sources.span.stop - 1, None]
                if bool((left <= plan.tolerance * tiles.seen).all()):
                    missed = share(left, tiles.seen)
                    break
            tiles.add(carried @ sources.keys, sources.span)
            carried = sources.carry(carried)
        tiles.close(missed)
        passed.append(block.sources)
    return tiles.result()


def blocks(form: Reader, dtype: torch.dtype) -> Iterator[Block]:
    """The form's blocks in order of time; an empty form has one empty block."""
    if form.time == 0:
        nothing = form.q.new_zeros(form.batch, form.heads, 0, form.k.shape[-1], dtype=dtype)
        yield Block(nothing[..., :0], nothing, Sources(slice(0, 0), nothing.mT, nothing, True))
    elif isinstance(form, ScalarDecay):
        for part in scalar_decay.chunks(form, dtype, LENGTH):
            since, until = part.since_start[..., None], part.until_end[..., None]
            sources = Sources(part.span, (part.k * until).mT, part.total[..., None, None], True)
            yield Block(part.matrix, part.q * since, sources)
    elif isinstance(form, DiagonalDecay):
        for chunk in diagonal_decay.chunks(form, dtype, LENGTH):
            yield Block(chunk.matrix, chunk.queries, Sources(chunk.span, chunk.keys.mT, chunk.total[:, :, None], True))
    else:
        joined: list[Block] = []
        for block in _delta_chunks(form, dtype):
            joined.append(block)
            if len(joined) * delta.CHUNK == LENGTH:
                yield _joined(joined)
                joined = []
        if joined:
            yield _joined(joined)


def _delta_chunks(form: Delta, dtype: torch.dtype) -> Iterator[Block]:
    for stretch in delta.stretches(form, dtype):
        across = maps(stretch)
        for index in range(across.count):
            start = across.span.start + index * across.length
            span = slice(start, min(start + across.length, across.span.stop))
            steps = span.stop - span.start  # the last chunk may be padded
            matrix, queries, keys = (x[:, :, index] for x in (across.matrix, across.queries, across.keys))
            sources = Sources(span, keys[..., :steps], across.transition[:, :, index], False)
            yield Block(matrix[..., :steps, :steps], queries[..., :steps, :], sources)


def _joined(parts: list[Block]) -> Block:
    """Successive blocks, whose transitions are matrices, as one."""
    whole = parts[0]
    for block in parts[1:]:
        before, after = whole.sources, block.sources
        below = block.queries @ before.keys
        above = below.new_zeros(*below.shape[:2], below.shape[3], below.shape[2])
        matrix = torch.cat([torch.cat([whole.matrix, above], -1), torch.cat([below, block.matrix], -1)], -2)
        queries = torch.cat([whole.queries, before.carry(block.queries)], -2)
        keys = torch.cat([after.transition @ before.keys, after.keys], -1)
        span = slice(before.span.start, after.span.stop)
        whole = Block(matrix, queries, Sources(span, keys, after.transition @ before.transition, False))
    return whole


def _others(form: Reader) -> tuple[Tensor | None, ...]:
    if isinstance(form, DiagonalDecay):
        return (form.rate,)
    return (form.probe, form.erase) if isinstance(form, Delta) else ()
