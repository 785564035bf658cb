"""From the gradients of a form's maps to those of its operands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.triton.erasing import erasing_gradients
from workbench.kernels.triton.layout import Tiles, strides
from workbench.kernels.triton.maps import Erasing, Kept, Maps, Products
from workbench.kernels.triton.products_backward import channel_products_backward, head_products_backward
from workbench.kernels.triton.running import MapGradients


@dataclass(frozen=True)
class OperandGradients:
    """Gradients of one reader and one writer, an entry a head, and of what stands between them."""

    reader: Float[Tensor, "batch time heads key"]
    writer: Float[Tensor, "batch time heads key"]
    write: Float[Tensor, "batch time heads"] | None
    log_decay: Float[Tensor, "batch time heads key_or_one"]


def operand_gradients(
    own: Products,
    tiles: Tiles,
    d_matrix: Tensor,
    d_readers: Tensor | None = None,
    d_writers: Tensor | None = None,
    d_total: Tensor | None = None,
) -> OperandGradients:
    """Gradients through `maps.products`; None for a result that was not used."""
    batch, time, heads, decays = own.log_decay.shape
    key, chunks = own.reader.shape[-1], own.total.shape[1]
    d_reader, d_writer = (d_matrix.new_empty(batch, time, heads, key) for _ in range(2))
    d_log_decay = d_matrix.new_empty(own.log_decay.shape)
    parts = 1 if decays == 1 else triton.cdiv(key, tiles.part)
    d_write = None if own.write is None else d_matrix.new_empty(parts, batch, time, heads)
    operands = (
        own.reader, own.writer, own.write, own.log_decay, own.total, d_matrix, d_readers, d_writers, d_total,
        d_reader, d_writer, d_write, d_log_decay, *strides(own.reader, heads), *strides(own.writer, heads), time, heads,
    )  # fmt: skip
    sizes = {
        "KEY": key, "BLOCK_KEY": tiles.part, "STEPS": tiles.steps, "STRICT": own.strict, "PRECISION": tiles.precision,
        "num_warps": 8, "num_stages": 1,
    }  # fmt: skip
    if decays == 1:
        head_products_backward[chunks, batch * heads](*operands, **sizes)
    else:
        channel_products_backward[chunks, batch * heads, parts](*operands, LEVELS=tiles.levels, **sizes)
    return OperandGradients(d_reader, d_writer, None if d_write is None else d_write.sum(0), d_log_decay)


def decaying_gradients(own: Products, tiles: Tiles, of: MapGradients) -> OperandGradients:
    """Gradients of a form that erases nothing."""
    return operand_gradients(own, tiles, of.matrix, of.queries, of.keys, of.total)


@dataclass(frozen=True)
class ErasingGradients:
    """Gradients of a delta rule's operands, an entry a head; None for what the form leaves to its defaults."""

    query: Tensor
    key: Tensor
    write: Tensor | None
    log_decay: Tensor
    probe: Tensor | None
    erase: Tensor | None


def delta_gradients(parts: Erasing, kept: Kept, maps: Maps, of: MapGradients, own_probe: bool) -> ErasingGradients:
    """Gradients through `maps.erased` and the products behind it; `own_probe` where the probe is not the key."""
    tiles = maps.tiles
    assert maps.probes is not None and maps.erasers is not None
    batch, time, heads, key = maps.probes.shape
    d_read, d_sources, d_erasers = (torch.empty_like(maps.matrix) for _ in range(3))
    d_probes, d_plain = torch.empty_like(maps.probes), torch.empty_like(maps.probes)
    erasing_gradients[maps.chunks, batch * heads](
        kept.inverse, kept.found, parts.read_erasers.matrix, maps.probes, maps.erasers,
        of.matrix, of.queries, of.keys, of.probes, of.erasers,
        d_read, d_sources, d_erasers, d_probes, d_plain, time, heads,
        KEY=key, BLOCK_KEY=tiles.part, STEPS=tiles.steps, PRECISION=tiles.precision, num_warps=8, num_stages=1,
    )  # fmt: skip
    if parts.found_erasers is parts.found_sources:
        read = operand_gradients(parts.read_sources, tiles, of.matrix + d_read, of.queries, of.keys + d_plain, of.total)
        found = operand_gradients(parts.found_sources, tiles, d_sources + d_erasers, d_probes)
        readers, writers = [read, found], [read, found]
        erase = None
    else:
        read = operand_gradients(parts.read_sources, tiles, of.matrix, of.queries, of.keys, of.total)
        found = operand_gradients(parts.found_sources, tiles, d_sources)
        met = operand_gradients(parts.read_erasers, tiles, d_read, None, d_plain)
        erased = operand_gradients(parts.found_erasers, tiles, d_erasers, d_probes)
        readers, writers = [read, met, found, erased], [read, found]
        erase = met.writer + erased.writer
    half = len(readers) // 2
    query, probe = (_sum([x.reader for x in some]) for some in (readers[:half], readers[half:]))
    key_gradient = _sum([x.writer for x in writers])
    write = None if read.write is None else _sum([x.write for x in writers if x.write is not None])
    return ErasingGradients(
        query=query,
        key=key_gradient if own_probe else key_gradient + probe,
        write=write,
        log_decay=_sum([x.log_decay for x in readers]),
        probe=probe if own_probe else None,
        erase=erase,
    )


def _sum(tensors: list[Tensor]) -> Tensor:
    total = tensors[0]
    for x in tensors[1:]:
        total = total + x
    return total
