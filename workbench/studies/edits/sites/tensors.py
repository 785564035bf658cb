"""Sites that are tensors of the hook table, whole or in parts: any hook, and neurons."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.interventions.selection import head_axis, selections
from workbench.model import HookedModel
from workbench.studies.edits.placing import Layers, PlacedSites, layer_of, layers_of, spelled
from workbench.studies.edits.site import SITES, Target
from workbench.studies.edits.sites.shapes import count_heads, count_units, numbers

NEURONS = "mlp.hook_post"


@SITES.register("hooks")
class HookSites(PlacedSites):
    """What passes at hooks: operands, decays, patterns, the residual stream, whole or by heads and units.

    Keys and values of softmax models, and queries and keys of some recurrent ones, have groups for heads.
    """

    at: str | list[str]
    """Hook names: canonical, short (``resid_post``, ``log_decay``) or globs."""
    layers: Layers = "all"
    """Of short names; a canonical name has a layer of its own."""
    heads: list[int] | None = Field(default=None, min_length=1)
    units: list[int] | None = Field(default=None, min_length=1)
    """Numbers along the last axis."""
    each: Literal["hook", "head", "unit"] = "hook"
    """What one target is."""

    def targets(self, model: HookedModel) -> list[Target]:
        listed = None if self.layers == "all" else layers_of(model, self.layers)
        names = [one.name for one in selections(model, self.at, layers=listed)]
        return [target for name in names for target in self._of_hook(model, name)]

    def _of_hook(self, model: HookedModel, name: str) -> list[Target]:
        split = self.heads is not None or self.each == "head"
        if split and head_axis(model.points[name]) is None:
            raise InputError(f"{name} has no axis of heads: its axes are {', '.join(model.points[name].axes)}.")
        heads = tuple(numbers(self.heads, count_heads(model, name), name)) if split else None
        one_by_one = self.units is not None or self.each == "unit"
        units = tuple(numbers(self.units, count_units(model, name), name)) if one_by_one else None
        if self.each == "head":
            assert heads is not None
            return [part(name, (head,), units) for head in heads]
        if self.each == "unit":
            assert units is not None
            return [part(name, heads, (unit,)) for unit in units]
        return [part(name, heads, units)]


@SITES.register("neurons")
class NeuronSites(PlacedSites):
    """Neurons: the hidden activations of MLPs that their output matrix reads, or units of any other hook."""

    layers: Layers = "all"
    hook: str = NEURONS
    """A short name or a tail of a canonical one."""
    units: Literal["all"] | list[int] = "all"
    top: int | None = Field(default=None, ge=1)
    """So many of each layer, those with the longest rows in the MLP's output matrix; in place of `units`."""

    @model_validator(mode="after")
    def _consistent(self) -> NeuronSites:
        if self.top is not None and (self.units != "all" or self.hook != NEURONS):
            raise ValueError("top chooses neurons of MLPs by their output weights; leave units and hook out")
        return self

    def targets(self, model: HookedModel) -> list[Target]:
        listed = None if self.layers == "all" else layers_of(model, self.layers)
        names = [one.name for one in selections(model, self.hook, layers=listed)]
        found = []
        for name in names:
            units = self._units(model, name)
            found += [part(name, None, (unit,), _spelled(name)) for unit in units]
        return found

    def _units(self, model: HookedModel, name: str) -> list[int]:
        if self.top is None:
            return numbers(self.units, count_units(model, name), name)
        lengths = output_lengths(model, layer_of(name))
        return sorted(lengths.topk(min(self.top, len(lengths))).indices.tolist())


def output_lengths(model: HookedModel, layer: int) -> Tensor:
    """How long what each neuron of a layer's MLP writes is, for an activation of 1, ``[neurons]``.

    Raises:
        InputError: the matrix that reads the neurons is not to be had.
    """
    site = model.layout.blocks[layer].mlp_post
    weight = None if site is None else getattr(site.module, "weight", None)
    if site is None or not isinstance(weight, Tensor) or weight.dim() != 2:
        raise InputError(f"The output matrix of the MLP of layer {layer} is not found; name units instead of top.")
    # transformers' Conv1D holds its matrix the other way round than nn.Linear.
    norms: Tensor = torch.linalg.vector_norm(
        weight.detach().float(), dim=0 if isinstance(site.module, nn.Linear) else 1
    )
    return norms


def part(
    name: str, heads: tuple[int, ...] | None, units: tuple[int, ...] | None, spelling: str | None = None
) -> Target:
    """A target that is a part of a hook's tensor: ``L0.mixer.log_decay.H3``, ``L2.mlp#17``."""
    label = spelled(name) if spelling is None else spelling
    label += "" if heads is None else f".H{','.join(map(str, heads))}"
    label += "" if units is None else f"#{','.join(map(str, units))}"
    size = (1 if heads is None else len(heads)) * (1 if units is None else len(units))
    return Target(label, name, layer_of(name), heads, units, size)


def _spelled(name: str) -> str:
    """The MLP itself for its neurons, which everybody calls ``L2.mlp#17``."""
    return f"L{layer_of(name)}.mlp" if name.endswith(f".{NEURONS}") else spelled(name)
