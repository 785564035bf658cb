"""The delta rule in chunks: the inner work of all chunks at once, one small state passed between them.

What step t finds in the state, ``u_t = p_t' D_t S_{t-1}``, depends on what the chunk's earlier steps found, through a
unit lower triangular system ``(I + L) U = (decayed p) S_0 + P V`` with ``L[t, s] = p_t' D_t .. D_{s+1} e_s`` and `P`
the same of ``w_s k_s`` (the WY representation: Yang et al. 2024, arXiv:2406.06484, section 3; with a decay: Yang et al.
2025, arXiv:2412.06464, section 3.3). Where a step erases what it writes, ``L = P``, and ``V - U`` solves the simpler
``(I + L) (V - U) = V - (decayed p) S_0``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from workbench.kernels.blocking import blocks
from workbench.kernels.delta.products import decayed
from workbench.kernels.forms import Delta
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype

CHUNK = 32  # on a CPU a quarter faster than 64


@dataclass(frozen=True)
class Chunks:
    """A stretch of time cut into chunks, heads first; every decay factor in it is at most 1.

    Where a step erases what it writes, the two of each pair are one tensor: `erasers` is `sources`, and so on.

    Attributes:
        span: the stretch; its last chunk may be padded, with steps that change nothing.
        queries, probes: decayed from the chunk's start up to each step.
        sources, erasers: ``w k`` and `e`, decayed from each step to the chunk's end.
        total: decay over the whole chunk.
        read_sources, read_erasers: what each step's query sees of them; zero above the diagonal.
        found_sources, found_erasers: what each step's probe finds of them, `P` and `L`; on the diagonal, too,
            where they are two.
    """

    span: slice
    queries: Float[Tensor, "batch heads chunks step key"]
    probes: Float[Tensor, "batch heads chunks step key"]
    sources: Float[Tensor, "batch heads chunks step key"]
    erasers: Float[Tensor, "batch heads chunks step key"]
    total: Float[Tensor, "batch heads chunks key_or_one"]
    read_sources: Float[Tensor, "batch heads chunks step source"]
    read_erasers: Float[Tensor, "batch heads chunks step source"]
    found_sources: Float[Tensor, "batch heads chunks step source"]
    found_erasers: Float[Tensor, "batch heads chunks step source"]

    @property
    def erases_what_it_writes(self) -> bool:
        """Whether L is P."""
        return self.found_erasers is self.found_sources

    def solve(self, right: Float[Tensor, "batch heads chunks step n"]) -> Float[Tensor, "batch heads chunks step n"]:
        """``(I + L)^-1`` times the right-hand side."""
        solved: Tensor = torch.linalg.solve_triangular(self.found_erasers, right, upper=False, unitriangular=True)
        return solved


def form_dtype(form: Delta, *others: Tensor | None) -> torch.dtype:
    """The dtype in which the form's matrix, and whatever else is given, is computed."""
    return compute_dtype(form.q, form.k, form.probe, form.erase, form.log_decay, form.write, *others)


def cut(x: Float[Tensor, "batch time heads n"], length: int) -> Float[Tensor, "batch heads chunks step n"]:
    """Chunks of one length, heads first, the last one padded with zeros."""
    x = pad(x, (0, 0, 0, 0, 0, -x.shape[1] % length))
    chunks: Tensor = x.unflatten(1, (-1, length))
    return chunks.permute(0, 3, 1, 2, 4)


def stretches(form: Delta, dtype: torch.dtype, reverse: bool = False) -> Iterator[Chunks]:
    """Cut the form into chunks: in one stretch, or in several, in order, where that would take much memory."""
    assert form.read is None and form.diagonal is None, "the dispatcher takes read and diagonal away"
    batch, time, heads, _ = form.v.shape
    # Chunks of nearly one length: 65 steps are 33 and 32, and not 64 and a padded 1.
    count = -(-time // CHUNK)
    length = -(-time // max(1, count))
    if time:
        spans = list(blocks(count, 4 * batch * heads * (length + form.k.shape[-1]) ** 2))
        for span in reversed(spans) if reverse else spans:
            yield _chunks(form, dtype, slice(span.start * length, min(span.stop * length, time)), length)


def _chunks(form: Delta, dtype: torch.dtype, span: slice, length: int) -> Chunks:
    def taken(x: Tensor) -> Tensor:
        return cut(spread(x[:, span].to(dtype), form.heads, dim=2), length)

    q, k = taken(form.q), taken(form.k)
    source = k if form.write is None else k * cut(form.write[:, span, :, None].to(dtype), length)
    readers = torch.stack([q, k if form.probe is None else taken(form.probe)], dim=3)
    writers = torch.stack([source] if form.erase is None else [source, taken(form.erase)], dim=3)
    inner = decayed(readers, writers, cut(form.log_decay[:, span], length))
    queries, probes = inner.readers.unbind(3)
    carried = inner.writers.unbind(3)
    read, found = (products.unbind(3) for products in inner.products.unbind(3))
    return Chunks(
        span=span,
        queries=queries,
        probes=probes,
        sources=carried[0],
        erasers=carried[-1],
        total=inner.total,
        read_sources=read[0],
        read_erasers=read[-1],
        found_sources=found[0] if form.erase is None else found[0].tril(-1),
        found_erasers=found[-1],
    )


def forward(
    form: Delta, initial_state: Float[Tensor, "batch heads key value"] | None = None
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state, differentiable; the state is float32 (float64 for float64 operands)."""
    dtype = form_dtype(form, form.v, initial_state)
    batch, _, heads, value = form.v.shape
    if initial_state is None:
        state = form.v.new_zeros(batch, heads, form.k.shape[-1], value, dtype=dtype)
    else:
        state = initial_state.to(dtype)
    outputs = []
    for chunks in stretches(form, dtype):
        given, state = _stretch(chunks, cut(form.v[:, chunks.span].to(dtype), chunks.queries.shape[3]), state)
        outputs.append(given.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, : chunks.span.stop - chunks.span.start])
    return (torch.cat(outputs, dim=1) if outputs else form.v).to(form.v.dtype), state


def _stretch(
    chunks: Chunks, v: Float[Tensor, "batch heads chunks step value"], state: Float[Tensor, "batch heads key value"]
) -> tuple[Float[Tensor, "batch heads chunks step value"], Float[Tensor, "batch heads key value"]]:
    simple = chunks.erases_what_it_writes
    # What is found (or left to write) with nothing but zeros before the chunk, and for each state before it.
    solved = chunks.solve(torch.cat([v if simple else chunks.found_sources @ v, chunks.probes], dim=-1))
    widths = [v.shape[-1], chunks.probes.shape[-1]]
    alone, of_state = solved.split(widths, dim=-1)
    erased_alone, erased_of_state = (chunks.erasers.mT @ solved).split(widths, dim=-1)
    update = erased_alone if simple else chunks.sources.mT @ v - erased_alone
    starts = []
    for decay, add, take in zip(chunks.total.unbind(2), update.unbind(2), erased_of_state.unbind(2), strict=True):
        starts.append(state)
        state = decay[..., None] * state + _added(add, take, state, -1)
    start = torch.stack(starts, dim=2)
    carried = chunks.queries @ start
    if simple:
        return _added(carried, chunks.read_sources, _added(alone, of_state, start, -1)), state
    found = _added(alone, of_state, start)
    return _added(_added(carried, chunks.read_sources, v), chunks.read_erasers, found, -1), state


def _added(base: Tensor, left: Tensor, right: Tensor, sign: float = 1.0) -> Tensor:
    """``base + sign * left @ right`` in one pass."""
    shape = base.shape
    base, left, right = (x.flatten(0, -3) for x in (base, left, right))
    return torch.baddbmm(base, left, right, alpha=sign).view(shape)
