"""The maps of every chunk of a form, made by the kernels in `products` and `erasing`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Delta, DiagonalDecay, Reader, ScalarDecay
from workbench.kernels.triton.erasing import erasing_maps
from workbench.kernels.triton.layout import Tiles, rows, strides
from workbench.kernels.triton.products import channel_products, head_products


@dataclass(frozen=True)
class Products:
    """What the readers of a chunk's steps see of its writers, and both carried to the chunk's borders.

    With one decay a head the rows are not copied: they stay as given, with a factor a step.

    Attributes:
        reader, writer, write, log_decay: the operands as given.
        strict: the products' diagonal is left out.
        readers, writers: decayed from the chunk's start, and (with `write`) to its end, or as given.
        since, until: the factors of rows that are as given; None where they are decayed.
    """

    reader: Float[Tensor, "batch time reader_groups key"]
    writer: Float[Tensor, "batch time writer_groups key"]
    write: Float[Tensor, "batch time heads"] | None
    log_decay: Float[Tensor, "batch time heads key_or_one"]
    strict: bool
    readers: Float[Tensor, "batch time heads_or_reader_groups key"]
    writers: Float[Tensor, "batch time heads_or_writer_groups key"]
    since: Float[Tensor, "batch time heads"] | None
    until: Float[Tensor, "batch time heads"] | None
    matrix: Float[Tensor, "batch time heads step"]
    total: Float[Tensor, "batch chunks heads key_or_one"]


@dataclass(frozen=True)
class Maps:
    """``outputs = queries S + matrix V`` and ``last state = total S - erasers' (probes S) + keys' V`` of every chunk.

    Attributes:
        query_scale, key_scale: factors of rows that are not decayed yet; None where they are.
        probes, erasers: None where nothing is erased.
    """

    tiles: Tiles
    queries: Float[Tensor, "batch time heads_or_query_groups key"]
    query_scale: Float[Tensor, "batch time heads"] | None
    keys: Float[Tensor, "batch time heads_or_key_groups key"]
    key_scale: Float[Tensor, "batch time heads"] | None
    matrix: Float[Tensor, "batch time heads step"]
    total: Float[Tensor, "batch chunks heads key_or_one"]
    probes: Float[Tensor, "batch time heads key"] | None = None
    erasers: Float[Tensor, "batch time heads key"] | None = None

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.matrix.shape[2]

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return self.total.shape[1]


def log_decays(form: Reader) -> Float[Tensor, "batch time heads key_or_one"]:
    """The form's log decays, a rate multiplied in."""
    decay = form.log_decay
    if isinstance(form, DiagonalDecay):
        if form.rate is not None:
            decay = decay * form.rate
        elif decay.shape[-1] != form.k.shape[-1]:
            decay = decay.expand(*decay.shape[:3], form.k.shape[-1])
    return (decay if decay.ndim == 4 else decay[..., None]).contiguous()


def products(
    reader: Float[Tensor, "batch time reader_groups key"],
    writer: Float[Tensor, "batch time writer_groups key"],
    write: Float[Tensor, "batch time heads"] | None,
    log_decay: Float[Tensor, "batch time heads key_or_one"],
    tiles: Tiles,
    strict: bool = False,
) -> Products:
    """One reader and one writer a step: their products, and both carried to the chunk's borders."""
    batch, time, heads, decays = log_decay.shape
    key, chunks = reader.shape[-1], triton.cdiv(time, tiles.steps)
    matrix = log_decay.new_empty(batch, time, heads, tiles.steps, dtype=torch.float32)
    total = matrix.new_empty(batch, chunks, heads, decays)
    one = decays == 1
    carried = matrix.new_empty(batch, time, heads) if one else matrix.new_empty(batch, time, heads, key)
    carried_reader, carried_writer = carried, torch.empty_like(carried)
    factors: tuple[Tensor, Tensor] | tuple[None, None]
    sizes = (*strides(reader, heads), *strides(writer, heads), time, heads)
    if one:
        head_products[chunks, batch * heads](
            reader, writer, write, log_decay, matrix, carried_reader, carried_writer, total, *sizes,
            KEY=key, BLOCK_KEY=tiles.part, STEPS=tiles.steps, STRICT=strict, PRECISION=tiles.precision,
            num_warps=8, num_stages=2,
        )  # fmt: skip
        rows, factors = (reader, writer), (carried_reader, carried_writer)
    else:
        channel_products[chunks, batch * heads](
            reader, writer, write, log_decay, matrix, carried_reader, carried_writer, total, *sizes,
            KEY=key, BLOCK_KEY=tiles.part, STEPS=tiles.steps, LEVELS=tiles.levels, STRICT=strict,
            PRECISION=tiles.precision, num_warps=8, num_stages=1,
        )  # fmt: skip
        rows, factors = (carried_reader, carried_writer), (None, None)
    since, until = factors
    return Products(reader, writer, write, log_decay, strict, *rows, since, until, matrix, total)


@dataclass(frozen=True)
class Erasing:
    """The products behind a delta rule's maps; where a step erases what it writes, two of each pair are one."""

    read_sources: Products
    read_erasers: Products
    found_sources: Products
    found_erasers: Products


def erasing(form: Delta, tiles: Tiles) -> Erasing:
    """Products of queries and probes with sources and erasers."""
    decay, q, k = log_decays(form), rows(form.q), rows(form.k)
    write = None if form.write is None else form.write.contiguous()
    probe = k if form.probe is None else rows(form.probe)
    read = products(q, k, write, decay, tiles)
    found = products(probe, k, write, decay, tiles, strict=True)
    if form.erase is None:
        return Erasing(read, read, found, found)
    erase = rows(form.erase)
    return Erasing(
        read, products(q, erase, None, decay, tiles), found, products(probe, erase, None, decay, tiles, strict=True)
    )


@dataclass(frozen=True)
class Kept:
    """What erasing computes on its way and its gradient needs, ``(I + L)^-1`` and that times `P`."""

    inverse: Float[Tensor, "batch time heads step"]
    found: Float[Tensor, "batch time heads step"]


def erased(parts: Erasing, tiles: Tiles, kept: Kept | None = None) -> Maps:
    """The maps that the products of a delta rule make; `kept` is filled when it is given."""
    read, erasing = parts.read_sources, parts.found_erasers
    batch, chunks, heads, decays = read.total.shape
    time, key = read.matrix.shape[1], read.reader.shape[-1]
    matrix = torch.empty_like(read.matrix)
    queries, probes, keys = (matrix.new_empty(batch, time, heads, key) for _ in range(3))
    erasers = torch.empty_like(keys) if decays == 1 else None
    erasing_maps[chunks, batch * heads](
        read.matrix, parts.read_erasers.matrix, parts.found_sources.matrix, erasing.matrix,
        read.readers, erasing.readers, read.writers, erasing.writers, read.since, read.until, erasing.until,
        matrix, queries, probes, keys, erasers, kept and kept.inverse, kept and kept.found,
        *strides(read.readers, heads), *strides(erasing.readers, heads),
        *strides(read.writers, heads), *strides(erasing.writers, heads), time, heads,
        KEY=key, BLOCK_KEY=tiles.part, STEPS=tiles.steps, LEVELS=tiles.levels, PRECISION=tiles.precision,
        num_warps=8, num_stages=1,
    )  # fmt: skip
    return Maps(
        tiles, queries, None, keys, None, matrix, read.total, probes, erasing.writers if erasers is None else erasers
    )


def decaying(form: ScalarDecay | DiagonalDecay, tiles: Tiles) -> Products:
    """Products of queries and keys."""
    write = None if form.write is None else form.write.contiguous()
    return products(rows(form.q), rows(form.k), write, log_decays(form), tiles)


def decayed(own: Products, tiles: Tiles) -> Maps:
    """The maps of a form that erases nothing."""
    return Maps(tiles, own.readers, own.since, own.writers, own.until, own.matrix, own.total)
