"""Which hook points are read: every spelling of a place to canonical names, each once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.interventions.selection import selections
from workbench.model import HookedModel
from workbench.sites import SiteLike

At: TypeAlias = "SiteLike | Iterable[SiteLike]"
"""Where: short names, tails, whole names, aliases, globs and sites, one or several."""


@dataclass(frozen=True)
class Place:
    """One hook point that is read.

    Attributes:
        hook: the spelling it was asked for by.
        layer: its layer; None outside the blocks.
        name: canonical name.
        heads: which of its heads; None for all.
    """

    hook: str
    layer: int | None
    name: str
    heads: tuple[int, ...] | None = None


@checked_call
def places(model: HookedModel, at: At, layers: Sequence[int] | int | None = None) -> list[Place]:
    """The hook points that spellings of places mean, spelling by spelling and layer by layer.

    Args:
        at, layers: as in `workbench.interventions.selection.selections`: ``"resid_post"`` in all layers or some,
            ``"mixer.hook_out"``, ``"blocks.2.hook_resid_mid"``, ``"hook_embed"``, ``"L2H1"``, ...

    Raises:
        InputError: a place or a layer given twice, or none; a hook without a time axis that is no state.
        HookNameError: a name that no layer has, or not every listed one.
    """
    found = []
    for one in selections(model, at, layers=layers):
        point = model.points[one.name]
        if point.axes[:2] != ("batch", "time") and not point.per_step:
            raise InputError(f"{one.name} has the axes [{', '.join(point.axes)}]; a probe reads one vector a token.")
        layer = point.layer() if one.name.startswith("blocks.") else None
        found.append(Place(one.asked, layer, one.name, one.heads))
    return found
