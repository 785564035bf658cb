"""Kinds of site that are places in the hook table: one way to bind them, whatever the method."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.interventions.fix import look, state_that_gates_read
from workbench.interventions.positions import When
from workbench.interventions.selection import Change, Selection, selections
from workbench.model import HookedModel
from workbench.studies.edits.method import MethodKind, Surroundings
from workbench.studies.edits.site import SITES, BoundEdit, SiteKind, Target

Layers: TypeAlias = Literal["all"] | list[int]
"""Of layers: all, or their numbers; negative ones count from the end."""

_Found = dict[tuple[str, tuple[int, ...] | None, tuple[int, ...] | None], tuple[Selection, ...]]
_selections: weakref.WeakKeyDictionary[HookedModel, _Found] = weakref.WeakKeyDictionary()
_listened: weakref.WeakKeyDictionary[HookedModel, dict[str, str | None]] = weakref.WeakKeyDictionary()


class PlacedSites(SiteKind):
    """Sites that are heads and units of hooks.

    An edit of what a gated cell computes from (a forget gate of an LSTM) is heard by its later gates, as in `Fix`.
    """

    def binder(self) -> SiteKind:
        return SITES.parse("listed")

    def check(self, model: HookedModel, targets: Sequence[Target], method: MethodKind) -> None:
        for name in dict.fromkeys(one.name for target in targets for one in selected(model, target)):
            method.check(model.points[name])

    def bind(self, targets: Sequence[Target], method: MethodKind, around: Surroundings) -> BoundEdit:
        model, time = around.model, len(around.prompt.tokens)
        when = When() if around.positions is None else When.of(around.positions)
        changes: dict[str, Change] = {}
        hooks: list[tuple[str, HookFunction]] = []
        for keys, together in _by_keys(targets).items():
            for one in merged(part for target in together for part in selected(model, target)):
                if one.name not in changes:
                    changes[one.name] = method.change(one.name, around)
                change = changes[one.name] if keys is None else _at_keys(changes[one.name], keys)
                hooks.append(replace(one, when=when).hook(model, change, time))
        states = dict.fromkeys(_states_that_hear(model, changes))
        return BoundEdit([*hooks, *((name, look) for name in states)])


def selected(model: HookedModel, target: Target) -> tuple[Selection, ...]:
    """The selections that a target means; those of every place where it stands for several (``more["sites"]``)."""
    known = _selections.setdefault(model, {})
    found: list[Selection] = []
    for at in target.more.get("sites", [target.at]):
        key = (at, target.heads, target.units)
        if key not in known:
            known[key] = tuple(selections(model, at, target.heads, target.units))
        found += known[key]
    return tuple(found)


def merged(chosen: Iterable[Selection]) -> list[Selection]:
    """Selections joined where they are of one hook, so that what two of them name is changed once."""
    found: dict[str, list[Selection]] = {}
    for one in chosen:
        there = found.setdefault(one.name, [])
        for number, other in enumerate(there):
            if other.units == one.units:
                there[number] = replace(other, heads=_union(other.heads, one.heads))
                break
            if other.heads == one.heads:
                there[number] = replace(other, units=_union(other.units, one.units))
                break
        else:
            there.append(one)
    return [one for there in found.values() for one in there]


def layers_of(model: HookedModel, layers: Layers) -> list[int]:
    """Numbers of layers from 0, ascending. Raises InputError for one that the model lacks, or none at all."""
    if layers == "all":
        return list(range(model.cfg.n_layers))
    numbers = sorted({model.layer_index(layer) for layer in layers})
    if not numbers:
        raise InputError("The list of layers is empty; leave it out for all.")
    return numbers


def layer_of(name: str) -> int:
    """The layer in a canonical hook name; 0 for the embedding, which lies before all layers.

    What comes behind all layers has none, and 0, the safest, is said of it too.
    """
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blocks" else 0


def spelled(name: str) -> str:
    """A canonical hook name as labels have it: ``L0.resid_post``, ``L0.mixer.log_decay``, ``embed``."""
    parts = name.split(".")
    tail = ".".join(parts[2:] if parts[0] == "blocks" else parts).replace("hook_", "")
    return f"L{parts[1]}.{tail}" if parts[0] == "blocks" else tail


def _by_keys(targets: Sequence[Target]) -> dict[tuple[int, ...] | None, list[Target]]:
    """Targets by the numbers along the axis of keys that they are restricted to (``more["keys"]``)."""
    found: dict[tuple[int, ...] | None, list[Target]] = {}
    for target in targets:
        keys = target.more.get("keys")
        found.setdefault(None if keys is None else tuple(keys), []).append(target)
    return found


def _at_keys(change: Change, keys: tuple[int, ...]) -> Change:
    """A change kept to some numbers along the axis of keys."""

    def kept(tensor: Tensor, hook: HookPoint) -> Tensor:
        axis = hook.axes.index("key")
        index = torch.tensor(keys, device=tensor.device)
        return tensor.index_copy(axis, index, change(tensor, hook).index_select(axis, index))

    return kept


def _union(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if first is None or second is None else tuple(sorted({*first, *second}))


def _states_that_hear(model: HookedModel, names: Iterable[str]) -> Iterable[str]:
    """States to listen to, so that cells whose gates read them take every step with the edit in force."""
    known = _listened.setdefault(model, {})
    for name in names:
        if name not in known:
            known[name] = state_that_gates_read(model, name) if _feeds_the_state(model, name) else None
        state = known[name]
        if state is not None:
            yield state


def _feeds_the_state(model: HookedModel, name: str) -> bool:
    """Whether a hook shows what a recurrence is computed from: those are declared before its pattern and its state."""
    for adapter in model.mixers:
        ordered = [point.name for point in adapter.points.values()]
        if name in ordered and "hook_state" in adapter.points:
            return ordered.index(name) < ordered.index(adapter.points["hook_pattern"].name)
    return False
