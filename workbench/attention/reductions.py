"""What is reduced over the rows and columns of a matrix that is never held: masses, entropies, distances, top entries.

Sums of squares take time linear in the length. The others need ``|A[t, s]|``, which no scan of a state knows; they are
streamed, in time that grows with the square of the length and memory that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import kernels
from workbench.attention.unrolled import Unrolled, unrolled
from workbench.forms import Form, MixerForm
from workbench.kernels.blocking import BLOCK_ELEMENTS, blocks
from workbench.kernels.grouping import select_heads
from workbench.kernels.streaming import Reduction, Streamed
from workbench.kernels.streaming.result import planned, powers_of_two
from workbench.kernels.streaming.tiles import Tiles, largest, share

LINEAR: frozenset[str] = frozenset({"energy", "mean_distance_by_energy"})
ROWS_AT_ONCE = 64

PerRow = Float[Tensor, "batch time units"]


def of_form(
    form: Form, reductions: Sequence[Reduction], heads: Sequence[int] | None, top: int, bins: Sequence[int] | None
) -> Streamed:
    """Reductions of a canonical form's own matrix, `heads` in the order given.

    Where only sums of squares are asked for, the mass is not computed and NaN.
    """
    if not LINEAR.issuperset(reductions):
        return kernels.stream(form, reductions, heads=heads, top=top, bins=bins)
    form = select_heads(form, heads)
    energy = kernels.row_energy(form)
    distance = None
    if "mean_distance_by_energy" in reductions:
        distance = share(kernels.energy_distance(form), energy)
    nothing = torch.zeros_like(energy)
    return Streamed(nothing, mass=nothing + torch.nan, energy=energy, mean_distance_by_energy=distance)


def of_mixer(
    form: MixerForm, reductions: Sequence[Reduction], units: Sequence[int] | None, top: int, bins: Sequence[int] | None
) -> Streamed:
    """Reductions of a whole mixer around a recurrent core, whose matrix sees its convolution, gate and skip.

    A channel has a matrix of its own, so this costs as many times more than the core as a head has channels.
    """
    edges = powers_of_two(form.core.source) if bins is None else tuple(bins)
    return beside([_joined(part, reductions, top, edges) for part in unrolled(form, units)])


def of_tiles(
    tile: Callable[[range | Sequence[int], slice], Tensor],
    shape: tuple[int, int, int, int],
    reductions: Iterable[Reduction],
    units: Sequence[int] | None,
    top: int,
    bins: Sequence[int] | None,
) -> Streamed:
    """Reductions of a matrix of which only tiles can be had: ``tile(units, rows)`` with all sources.

    Args:
        shape: ``[batch, units, time, source]`` of the whole.
    """
    batch, count, time, source = shape
    chosen = range(count) if units is None else units
    plan = planned(reductions, top, bins, 0.0, source)
    parts = []
    for some in blocks(len(chosen), batch * min(time, ROWS_AT_ONCE) * source):
        part, tiles = chosen[some], None
        for rows in blocks(time, batch * len(part) * source, BLOCK_ELEMENTS):
            entries = tile(part, rows)
            tiles = tiles or Tiles(plan, batch, len(part), time, source, entries.dtype, entries.device)
            tiles.open(rows)
            tiles.add(entries, slice(0, source))
            tiles.close(None)
        assert tiles is not None  # `blocks` gives one block at least
        parts.append(tiles.result())
    return beside(parts)


def beside(parts: Sequence[Streamed]) -> Streamed:
    """Reductions of successive units as one."""
    found: dict[str, Tensor] = {}
    for field in fields(Streamed):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "edges" or values[0] is None:
            found[field.name] = values[0]
        else:
            found[field.name] = torch.cat(values, dim=1 if field.name == "histogram" else 2)
    return Streamed(**found)


def _joined(part: Unrolled, reductions: Sequence[Reduction], top: int, edges: tuple[int, ...]) -> Streamed:
    """The far sources' reductions and the near entries as one."""
    needed: list[Reduction] = (
        ["energy"] if "mean_distance_by_energy" in reductions and "energy" not in reductions else []
    )
    far = of_form(part.far, [*reductions, *needed], None, top, [edge - part.shift for edge in edges])
    size = part.near.abs()
    distance = torch.arange(size.shape[-1], device=size.device, dtype=size.dtype)
    found: dict[str, Tensor] = {}
    mass = far.mass + size.sum(-1)
    beyond, own = share(far.mass, mass), share(size, mass[..., None])
    if far.energy is not None:
        found["energy"] = far.energy + size.square().sum(-1)
    if far.entropy is not None:
        coins = torch.special.entr(beyond) + torch.special.entr(own).sum(-1)
        found["entropy"] = beyond * far.entropy + coins
    if far.mean_distance_by_mass is not None:
        found["mean_distance_by_mass"] = beyond * (far.mean_distance_by_mass + part.shift) + own @ distance
    if far.mean_distance_by_energy is not None:
        assert far.energy is not None  # both or neither
        energy = found["energy"]
        distant = share(far.energy, energy) * (far.mean_distance_by_energy + part.shift)
        found["mean_distance_by_energy"] = distant + share(size.square(), energy[..., None]) @ distance
    if far.top_values is not None and far.top_sources is not None:
        time = torch.arange(size.shape[1], device=size.device)[:, None, None]
        young = (time - torch.arange(size.shape[-1], device=size.device)).expand_as(part.near)
        older = torch.where(far.top_sources >= 0, far.top_sources - part.shift, -1)
        values, sources = largest([part.near, far.top_values], [young, older], top)
        found["top_values"], found["top_sources"] = values, sources
    if far.column_mass is not None:
        found["column_mass"] = _earlier(far.column_mass, part.shift) + _by_source(size)
    if far.column_energy is not None:
        found["column_energy"] = _earlier(far.column_energy, part.shift) + _by_source(size.square())
    if far.histogram is not None:
        counts = size.sum(1)
        bins = [counts[..., max(0, low) : max(0, high)].sum(-1) for low, high in pairwise(edges)]
        found["histogram"] = far.histogram + torch.stack(bins, dim=-1)
        found["edges"] = torch.tensor(edges, device=size.device)
    return Streamed(missed=torch.where(far.missed == 0, 0, far.missed * beyond), mass=mass, **found)


def _earlier(x: Tensor, steps: int) -> Tensor:
    """Every step sees what is `steps` after it; 0 at the end."""
    return torch.cat([x[:, steps:], torch.zeros_like(x[:, :steps])], dim=1)


def _by_source(near: Float[Tensor, "batch time channels distance"]) -> Float[Tensor, "batch source channels"]:
    """Sums over the destinations of each source."""
    return torch.stack([_earlier(near[..., d], d) for d in range(near.shape[-1])]).sum(0)
