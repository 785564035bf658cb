"""What can be asked of a streamed matrix, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

Reduction: TypeAlias = Literal[
    "mass",
    "energy",
    "entropy",
    "mean_distance_by_mass",
    "mean_distance_by_energy",
    "top",
    "column_mass",
    "column_energy",
    "histogram",
]
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)
LARGEST_TOP = 64

# What a reduction is divided by, or merged with, and so has to be computed along with it.
_NEEDS: dict[Reduction, tuple[Reduction, ...]] = {"mean_distance_by_energy": ("energy",)}


@dataclass(frozen=True)
class Streamed:
    """Reductions of A; None for those that were not asked for (`mass` and `missed` are always there).

    All are in float32 (float64 when an operand is float64). `a` stands for ``|A[t, s]|``; for softmax that is the
    attention probability, and what a sink takes is left out.

    Attributes:
        mass: ``sum_s a``.
        energy: ``sum_s a^2``.
        entropy: of ``a / mass`` over the sources, in nats; 0 for a row without mass.
        mean_distance_by_mass: ``sum_s a (t - s) / mass``, in tokens; 0 for a row without mass.
        mean_distance_by_energy: ``sum_s a^2 (t - s) / energy``, in tokens; 0 for a row without energy.
        top_values: the entries of largest magnitude, signed, the largest first; of equal ones the later source first.
            Entries that are exactly 0 are never among them: places left over hold 0, and -1 for the source.
        top_sources: their sources. A row with a NaN anywhere has NaN values and sources -1.
        column_mass: ``sum_t a``.
        column_energy: ``sum_t a^2``.
        histogram: ``sum a`` over all rows and sources whose ``t - s`` lies in ``[edges[i], edges[i + 1])``.
        edges: edges of the histogram's bins, in tokens.
        missed: certified bound on the part of a row's mass that was not looked at: the true mass is at most
            ``mass * (1 + missed)``. 0 wherever the row is exact. Columns and the histogram miss the same entries.
    """

    missed: Float[Tensor, "batch time heads"]
    mass: Float[Tensor, "batch time heads"]
    energy: Float[Tensor, "batch time heads"] | None = None
    entropy: Float[Tensor, "batch time heads"] | None = None
    mean_distance_by_mass: Float[Tensor, "batch time heads"] | None = None
    mean_distance_by_energy: Float[Tensor, "batch time heads"] | None = None
    top_values: Float[Tensor, "batch time heads top"] | None = None
    top_sources: Int[Tensor, "batch time heads top"] | None = None
    column_mass: Float[Tensor, "batch source heads"] | None = None
    column_energy: Float[Tensor, "batch source heads"] | None = None
    histogram: Float[Tensor, "batch heads bins"] | None = None
    edges: Int[Tensor, " edges"] | None = None


@dataclass(frozen=True)
class Plan:
    """What one call computes.

    Attributes:
        asked: the reductions asked for, and `mass`.
        wanted: those and what they need.
        top: entries kept a row.
        edges: of the histogram's bins.
        tolerance: the relative mass a row may miss.
    """

    asked: frozenset[Reduction]
    wanted: frozenset[Reduction]
    top: int
    edges: tuple[int, ...]
    tolerance: float

    def __contains__(self, reduction: Reduction) -> bool:
        return reduction in self.wanted


def planned(reductions: Iterable[str], top: int, bins: Sequence[int] | None, tolerance: float, source: int) -> Plan:
    """The plan of a call.

    Raises:
        ValueError: there is no such reduction, `top` is not between 1 and 64, the bins' edges do not increase, or the
            tolerance is not in [0, 1).
    """
    if isinstance(reductions, str):
        raise ValueError(f"reductions is a list of names: write ({reductions!r},)")
    asked = list(reductions)
    known = [reduction for reduction in REDUCTIONS if reduction in asked]
    unknown = [name for name in asked if name not in REDUCTIONS]
    if unknown or not known:
        name = repr(unknown[0]) if unknown else "none"
        raise ValueError(f"reductions: choose from {', '.join(REDUCTIONS)}; got {name}")
    if not 1 <= top <= LARGEST_TOP:
        raise ValueError(f"top is the number of entries kept a row, between 1 and {LARGEST_TOP}; got {top}")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance is the part of a row's mass that may be missed, in [0, 1); got {tolerance}")
    edges = powers_of_two(source) if bins is None else tuple(int(edge) for edge in bins)
    if len(edges) < 2 or any(before >= after for before, after in pairwise(edges)):
        raise ValueError(f"bins are given by two or more edges in increasing order, in tokens; got {list(edges)}")
    named: frozenset[Reduction] = frozenset({"mass", *known})
    needed = {need for reduction in known for need in _NEEDS.get(reduction, ())}
    return Plan(named, named | needed, top, edges, tolerance)


def powers_of_two(source: int) -> tuple[int, ...]:
    """Edges 0, 1, 2, 4, ... beyond the largest distance there is."""
    edges = [0, 1]
    while edges[-1] < source:
        edges.append(2 * edges[-1])
    return tuple(edges)


def binned(
    by_distance: Float[Tensor, "batch heads distance"], edges: Sequence[int]
) -> Float[Tensor, "batch heads bins"]:
    """Sum what belongs to each distance into bins."""
    length = by_distance.shape[-1]
    bounds = [min(max(edge, 0), length) for edge in edges]
    parts = [by_distance[..., low:high].sum(-1) for low, high in pairwise(bounds)]
    return torch.stack(parts, dim=-1)
