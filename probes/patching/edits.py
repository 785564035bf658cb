"""The edits of a patching sweep: at a hook, of all its heads or one, at all positions or one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from workbench.errors import InputError
from workbench.interventions.selection import Selection, head_axis, selections, time_axis
from workbench.model import HookedModel
from workbench.probes.linear.places import At

Sweep: TypeAlias = str | Sequence[int]
"""``"all"`` positions in one edit, ``"each"`` in an edit of its own, or so each of the listed ones."""


@dataclass(frozen=True)
class Edit:
    """One edit of a sweep.

    Attributes:
        hook: canonical hook name.
        layer: its layer, or None outside the blocks.
        heads: numbers of heads, or None for the whole tensor.
        position: a position, or None for all.
    """

    hook: str
    layer: int | None
    heads: tuple[int, ...] | None
    position: int | None

    @property
    def labels(self) -> dict[str, object]:
        """Columns of a table; whole tensors have head -1 and edits of all positions position -1."""
        return {
            "hook": self.hook,
            "layer": -1 if self.layer is None else self.layer,
            "head": -1 if self.heads is None else self.heads[0],
            "position": -1 if self.position is None else self.position,
        }


def sweep_edits(
    model: HookedModel,
    chosen: Sequence[Selection],
    values: Mapping[str, Tensor],
    by_head: bool,
    group: int,
    positions: Sweep,
    time: int,
) -> list[Edit]:
    """Every edit of a sweep, hook by hook, head by head, position by position.

    Args:
        values: a recorded tensor of each hook, which tells how many heads there are.
        by_head: one edit a head, where a hook has heads.
        group: neighbouring heads in one edit (Mamba's channels).

    Raises:
        InputError: a group that does not divide the heads, or a position outside the text.
    """
    found = []
    for selection in chosen:
        point = model.points[selection.name]
        layer = point.layer() if selection.name.startswith("blocks.") else None
        axis = head_axis(point)
        heads: list[tuple[int, ...] | None] = [selection.heads]
        if by_head and axis is not None:
            # A recorded state has its steps in front of its heads.
            size = values[selection.name].shape[axis + 1 if point.per_step else axis]
            every = range(size) if selection.heads is None else selection.heads
            if group < 1 or len(every) % group:
                raise InputError(f"Groups of {group} do not divide the {len(every)} heads of {selection.name}.")
            heads = [tuple(every[first : first + group]) for first in range(0, len(every), group)]
        found += [Edit(selection.name, layer, one, at) for one in heads for at in swept(positions, time)]
    return found


def swept(positions: Sweep, time: int) -> list[int | None]:
    """The positions of the edits, from 0 on; None stands for all at once. Raises InputError for one outside."""
    if isinstance(positions, str):
        if positions not in ("all", "each"):
            raise InputError(f"positions is {positions!r}; there is 'all', 'each', or a list of positions.")
        return [None] if positions == "all" else [*range(time)]
    listed = [int(position) for position in positions]
    outside = [position for position in listed if not -time <= position < time]
    if outside or not listed:
        raise InputError(f"Positions go from 0 to {time - 1}, at least one; got {listed}.")
    return [position % time for position in listed]


def chosen_at(model: HookedModel, at: At, layers: Sequence[int] | int | None = None) -> list[Selection]:
    """The selections that a sweep's places mean, in the order of the forward pass. See `selections`."""
    order = {name: place for place, name in enumerate(model.points)}
    return sorted(selections(model, at, layers=layers), key=lambda selection: order[selection.name])


def axes(model: HookedModel, name: str) -> tuple[int, int | None]:
    """Where a recorded tensor of a hook has its positions and its heads (None without)."""
    point = model.points[name]
    heads = head_axis(point)
    if point.per_step:
        return 1, None if heads is None else heads + 1
    return time_axis(point), heads
