"""Streams a form's matrix: every entry is computed, reduced and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from workbench.kernels.backends import Backend, resolve
from workbench.kernels.dispatch import dense
from workbench.kernels.forms import DiagonalDecay, Form, Reader, ScalarDecay, Softmax, Toeplitz
from workbench.kernels.grouping import select_heads
from workbench.kernels.streaming import compiled, reading
from workbench.kernels.streaming.rank_one import scanned
from workbench.kernels.streaming.result import Plan, Reduction, Streamed, planned
from workbench.kernels.streaming.softmax import patterns
from workbench.kernels.streaming.tiles import Tiles
from workbench.kernels.streaming.toeplitz import filtered
from workbench.kernels.streaming.walk import LENGTH, walked
from workbench.kernels.triton import walking


class Fused(Protocol):
    """Fused kernels for one kind of device. They serve some forms, dtypes and reductions only."""

    def misfit(self, form: Form, plan: Plan) -> str | None:
        """What keeps a plain form from the kernels, as the end of a sentence; None when they compute it."""

    def available(self, form: Form, plan: Plan) -> bool:
        """Whether the form fits and the kernels can run."""

    def reduced(self, form: Any, plan: Plan) -> Streamed:
        """The reductions of a plain form that is available."""


_FUSED: dict[str, Fused] = {"cpu": compiled, "triton": walking}
_Form = TypeVar("_Form", ScalarDecay, DiagonalDecay, ScalarDecay | DiagonalDecay, Reader)

# Operands and temporaries of the heads that are walked at a time: 128 MB in float32, whatever the number of heads.
ELEMENTS = 2**25
GPU_ELEMENTS = 2**28  # a GPU needs more work at a time


@torch.no_grad()
def stream(
    form: Form,
    reductions: Iterable[Reduction] = ("mass", "entropy", "top"),
    heads: Sequence[int] | None = None,
    top: int = 8,
    bins: Sequence[int] | None = None,
    tolerance: float = 0.0,
    backend: Backend = "auto",
) -> Streamed:
    """Reduce every row and column of A without holding A: time grows with T^2 K, memory with T (K + `top`).

    Blocks of queries walk over the sources from right to left, see "Streamed" in the notes on implicit attention.
    Heads that hold one number a step (K = 1) and Toeplitz filters take time linear in T. One call serves softmax
    attention and every recurrent form; the numbers of the two are comparable, as both are of ``|A|``.

    Args:
        reductions: what to compute, any of ``mass``, ``energy``, ``entropy``, ``mean_distance_by_mass``,
            ``mean_distance_by_energy``, ``top``, ``column_mass``, ``column_energy``, ``histogram``; `Streamed` defines
            each. `mass` is always there.
        heads: the heads to look at, in this order; None for all.
        top: entries kept a row, at most 64.
        bins: increasing edges of the histogram's bins, in tokens; None for 0, 1, 2, 4, 8, ...
        tolerance: how much of a row's mass may be missed, relative to it. Above 0 a walk stops as soon as what is left
            is certainly less, by ``|A[t, s]| <= |R_t| |M ..| |F_s|``; `Streamed.missed` holds the bound reached.
            Softmax rows, K = 1 and filters are exact all the same.
        backend: ``"reference"`` reduces the whole matrix of the sequential oracle, ``"chunked"`` streams in PyTorch on
            any device, ``"cpu"`` in compiled loops (float32 on a CPU), ``"triton"`` on a GPU. Where K = 1, and
            for filters, there is one way.

    Returns:
        The reductions, ``[batch, time, heads]`` each; not differentiable.

    Raises:
        ValueError: a reduction, `top`, `bins`, `tolerance` or a head does not exist or makes no sense, or the backend
            cannot compute this form.
    """
    form = select_heads(form, heads)
    plan = planned(reductions, top, bins, tolerance, form.source)
    chosen = resolve(backend)
    if chosen == "reference":
        return _named(_reduced(form, plan), plan)
    return _named(reading.streamed(form, plan, lambda plain, plan: _streamed(plain, plan, chosen)), plan)


def _reduced(form: Form, plan: Plan) -> Streamed:
    """The reductions of the whole matrix."""
    matrix = dense(form, backend="reference")
    batch, heads, time, source = matrix.shape
    tiles = Tiles(plan, batch, heads, time, source, matrix.dtype, matrix.device)
    tiles.open(slice(0, time))
    tiles.add(matrix, slice(0, source))
    tiles.close(None)
    return tiles.result()


def _streamed(form: Form, plan: Plan, backend: Backend) -> Streamed:
    if isinstance(form, Toeplitz):
        return filtered(form, plan)
    if isinstance(form, ScalarDecay | DiagonalDecay) and form.k.shape[-1] == 1:
        return _beside([scanned(part, plan) for part in _few_heads(form)])
    compute = _chosen(form, plan, backend)
    if isinstance(form, Softmax):
        return compute(form, plan)
    return _beside([compute(part, plan) for part in _few_heads(form)])


def _chosen(form: Form, plan: Plan, backend: Backend) -> Callable[[Any, Plan], Streamed]:
    """What computes the form: the fused room asked for, or the one of its device where it fits, or PyTorch."""
    named = _FUSED.get(backend)
    reason = None if named is None else named.misfit(form, plan)
    if backend != "chunked":
        fused = named or _FUSED["triton" if form.v.is_cuda else "cpu"]
        if fused.available(form, plan):
            return fused.reduced
    if backend == "triton" and reason is None:
        reason = "Triton cannot run here"  # where a compiler is missing, PyTorch takes its place
    if reason is not None:
        raise ValueError(f"the {backend} backend cannot stream this form, {reason}: use chunked")
    return patterns if isinstance(form, Softmax) else walked


def _few_heads(form: _Form) -> Iterator[_Form]:
    """The form a few heads at a time: Mamba-1 has one a channel, and keys for each."""
    each = form.batch * (4 * form.time * form.k.shape[-1] + 8 * LENGTH * (LENGTH + form.k.shape[-1]))
    count = max(1, (GPU_ELEMENTS if form.v.is_cuda else ELEMENTS) // max(1, each))
    if count >= form.heads:
        yield form
        return
    for start in range(0, form.heads, count):
        part = select_heads(form, range(start, min(start + count, form.heads)))
        assert isinstance(part, type(form))
        yield part


def _beside(parts: list[Streamed]) -> Streamed:
    """Results of successive heads as one."""
    if len(parts) == 1:
        return parts[0]
    found: dict[str, Tensor] = {}
    for field in fields(Streamed):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "edges" or values[0] is None:
            found[field.name] = values[0]
        else:
            found[field.name] = torch.cat(values, dim=1 if field.name == "histogram" else 2)
    return Streamed(**found)


def _named(found: Streamed, plan: Plan) -> Streamed:
    """Only what was asked for, and no list of largest entries where not all entries are numbers."""
    if found.top_values is not None and found.top_sources is not None:
        unknown = found.mass.isnan()[..., None]
        found = replace(
            found,
            top_values=found.top_values.masked_fill(unknown, torch.nan),
            top_sources=found.top_sources.masked_fill(unknown, -1),
        )
    return found if "energy" in plan.asked else replace(found, energy=None)
