"""Sites of recurrent mixers: their gates, and what their state holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pydantic import Field

from workbench.errors import InputError
from workbench.families.base import MixerAdapter
from workbench.model import HookedModel
from workbench.studies.edits.placing import Layers, PlacedSites, layers_of
from workbench.studies.edits.site import SITES, Target
from workbench.studies.edits.sites.shapes import count_heads, count_keys, count_units, numbers
from workbench.studies.edits.sites.tensors import part

GATES = {
    "forget": "hook_log_decay",
    "write": "hook_write",
    "erase": "hook_erase",
    "read": "hook_read",
    "output": "hook_gate",
}
"""What gates are called, and the hooks that hold them, in whatever family has them."""

Gate = Literal["forget", "write", "erase", "read", "output"]


@SITES.register("gates")
class GateSites(PlacedSites):
    """Gates: how much a state forgets, takes up, erases, gives, and how much of it leaves the layer.

    A forget gate is a log decay: fixed at 0 nothing is forgotten, at -0.1 a tenth a token, at -1000 everything.
    """

    gate: Gate | list[Gate] | Literal["all"] = "all"
    layers: Layers = "all"
    heads: list[int] | None = Field(default=None, min_length=1)
    each: Literal["layer", "head"] = "layer"
    """What one target is."""

    def targets(self, model: HookedModel) -> list[Target]:
        listed = [self.gate] if isinstance(self.gate, str) else self.gate
        asked: list[str] = list(GATES) if self.gate == "all" else [*listed]
        found = [target for adapter in _mixers(model, self.layers) for target in self._of_mixer(model, adapter, asked)]
        if not found:
            there = [gate for gate, hook in GATES.items() if any(hook in one.points for one in model.mixers)]
            has = f"it has gates to {', '.join(there)}" if there else "it has no gates at all"
            what = "gates" if self.gate == "all" else f"gate to {' or to '.join(asked)}"
            raise InputError(f"{model.cfg.model_name} has no {what} in these layers; {has}.")
        return found

    def _of_mixer(self, model: HookedModel, adapter: MixerAdapter, asked: list[str]) -> Iterator[Target]:
        for gate in asked:
            if GATES[gate] not in adapter.points:
                continue
            name = adapter.points[GATES[gate]].name
            label = f"L{adapter.layer}.{adapter.part + '.' if adapter.index else ''}{gate}"
            if self.each == "layer" and self.heads is None:
                yield part(name, None, None, label)
                continue
            heads = numbers(self.heads, count_heads(model, name), name)
            together = [tuple(heads)] if self.each == "layer" else [(head,) for head in heads]
            yield from (part(name, some, None, label) for some in together)


@SITES.register("state")
class StateSites(PlacedSites):
    """What a recurrent mixer's state holds after each token: all of it, a head's, a row or a column of it.

    An edit lasts: later states are computed from it. With `positions`, it is made after those tokens alone.
    """

    layers: Layers = "all"
    heads: list[int] | None = Field(default=None, min_length=1)
    dimensions: list[int] | None = Field(default=None, min_length=1)
    """Numbers along the keys or the values, with `each` key or value."""
    each: Literal["layer", "head", "key", "value"] = "head"
    """What one target is. A Mamba-1 channel has keys only, a unit of an LSTM neither."""

    def targets(self, model: HookedModel) -> list[Target]:
        if self.dimensions is not None and self.each not in ("key", "value"):
            raise InputError("dimensions are those of keys or of values; say which with each: key or each: value.")
        adapters = [adapter for adapter in _mixers(model, self.layers) if "hook_state" in adapter.points]
        if not adapters:
            raise InputError(f"No layer that is asked for of {model.cfg.model_name} keeps a recurrent state.")
        return [target for adapter in adapters for target in self._of_mixer(model, adapter)]

    def _of_mixer(self, model: HookedModel, adapter: MixerAdapter) -> Iterator[Target]:
        name = adapter.points["hook_state"].name
        label = f"L{adapter.layer}.{adapter.part + '.' if adapter.index else ''}state"
        some = self.heads is not None or self.each == "head"
        heads = tuple(numbers(self.heads, count_heads(model, name), name)) if some else None
        if self.each == "head":
            assert heads is not None
            yield from (part(name, (head,), None, label) for head in heads)
        elif self.each == "layer":
            yield part(name, heads, None, label)
        elif self.each == "value":
            for unit in numbers(self.dimensions, count_units(model, name), name):
                yield replace(part(name, heads, (unit,), label), label=_label(label, heads, f"V{unit}"))
        else:
            for key in numbers(self.dimensions, count_keys(model, name), name):
                yield replace(part(name, heads, None), label=_label(label, heads, f"K{key}"), more={"keys": [key]})


def _label(label: str, heads: tuple[int, ...] | None, dimension: str) -> str:
    return f"{label}{'' if heads is None else '.H' + ','.join(map(str, heads))}.{dimension}"


def _mixers(model: HookedModel, layers: Layers) -> list[MixerAdapter]:
    chosen = set(layers_of(model, layers))
    return [adapter for adapter in model.mixers if adapter.layer in chosen]
