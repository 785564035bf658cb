"""Sites that are parts of blocks: layers, mixers, heads, MLPs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.sites import Site
from workbench.studies.edits.placing import Layers, PlacedSites, layers_of
from workbench.studies.edits.site import SITES, Target


@SITES.register("layers")
class LayerSites(PlacedSites):
    """Everything that a layer adds to the residual stream: its mixers and its MLP."""

    layers: Layers = "all"

    def targets(self, model: HookedModel) -> list[Target]:
        return [_target(Site(layer)) for layer in layers_of(model, self.layers)]


@SITES.register("mixers")
class MixerSites(PlacedSites):
    """What a token mixer adds to the residual stream; where a block has several, each by itself."""

    layers: Layers = "all"

    def targets(self, model: HookedModel) -> list[Target]:
        found = []
        for layer in layers_of(model, self.layers):
            count = len(model.layout.blocks[layer].mixers)
            numbers: list[int | None] = [None] if count == 1 else list(range(count))
            found += [_target(Site(layer, "mixer", mixer=number)) for number in numbers]
        return _some(found, model, "mixer", self.layers)


@SITES.register("mlps")
class MlpSites(PlacedSites):
    """What an MLP adds to the residual stream."""

    layers: Layers = "all"

    def targets(self, model: HookedModel) -> list[Target]:
        numbers = [n for n in layers_of(model, self.layers) if f"blocks.{n}.hook_mlp_out" in model.points]
        return _some([_target(Site(layer, "mlp")) for layer in numbers], model, "MLP", self.layers)


@SITES.register("heads")
class HeadSites(PlacedSites):
    """Heads of every mixer, where their whole contribution passes; channels, of Mamba-1 and of gated cells.

    `group` and `groups` make one target of neighbouring heads.
    """

    layers: Layers = "all"
    heads: Literal["all"] | list[int] = "all"
    """Their numbers in each mixer, those that it has; negative ones count from the end."""
    group: int = Field(default=1, ge=1)
    """Heads a target."""
    groups: int | None = Field(default=None, ge=1)
    """Targets a mixer, instead of `group`: models with 4 heads and with 256 channels then have equally many."""

    @model_validator(mode="after")
    def _consistent(self) -> HeadSites:
        if self.groups is not None and self.group != 1:
            raise ValueError("group says how many heads a target has, groups how many targets a mixer has; give one")
        if self.heads != "all" and (self.groups is not None or self.group != 1):
            raise ValueError("listed heads are targets one by one; leave group and groups out")
        return self

    def targets(self, model: HookedModel) -> list[Target]:
        found: list[Target] = []
        for layer in layers_of(model, self.layers):
            for mixer in model.layout.blocks[layer].mixers:
                adapter = mixer.adapter
                size = self._size(adapter.n_heads, adapter.place)
                for start in self._starts(adapter.n_heads, size):
                    found.append(_target(Site.heads(layer, start, start + size, mixer=adapter.index), size))
        return _some(found, model, "head", self.layers)

    def _size(self, count: int, place: str) -> int:
        size = self.group if self.groups is None else max(1, count // self.groups)
        if count % size or (self.groups is not None and count != size * self.groups):
            asked = f"groups of {self.group}" if self.groups is None else f"{self.groups} groups"
            raise InputError(f"The {count} heads of {place} cannot be divided into {asked}.")
        return size

    def _starts(self, count: int, size: int) -> list[int]:
        if self.heads == "all":
            return list(range(0, count, size))
        return sorted({head % count for head in self.heads if -count <= head < count})


def _target(site: Site, size: int = 1) -> Target:
    return Target(str(site), str(site), site.layer, size=size)


def _some(found: list[Target], model: HookedModel, what: str, layers: Layers) -> list[Target]:
    if not found:
        where = "" if layers == "all" else f" in layers {', '.join(map(str, layers))}"
        raise InputError(f"{model.cfg.model_name} has no such {what}{where}.")
    return found
