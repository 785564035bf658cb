"""Sites that are edges between tokens: a destination, and what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

from workbench.errors import InputError
from workbench.knockout import Knockout
from workbench.model import HookedModel
from workbench.sites import Site
from workbench.studies.edits.method import MethodKind, Surroundings
from workbench.studies.edits.methods.cutting import Cut
from workbench.studies.edits.placing import Layers, layers_of
from workbench.studies.edits.site import SITES, BoundEdit, SiteKind, Target
from workbench.studies.inputs.prompt import Prompt

Destinations: TypeAlias = Literal["scored", "last", "all"] | list[int]
Sources: TypeAlias = Literal["sources", "previous", "first", "all"] | list[int]


@SITES.register("edges")
class EdgeSites(SiteKind):
    """Edges from sources to destinations, cut in one layer, in one head, or everywhere, by the method ``cut``.

    `destinations` are the scored positions, the last one, all, or numbers; `sources` are each scored position's own
    source (where the task says what an ideal reader looks at), the token before each destination, the first token, all
    earlier tokens, or numbers. Negative numbers count from the end. `positions` of the entry keep to some destinations.
    """

    destinations: Destinations = "scored"
    sources: Sources = "sources"
    layers: Layers = "all"
    each: Literal["model", "layer", "head"] = "layer"
    """What one target is: the edges in all of the layers at once, in one layer, or in one head."""

    def targets(self, model: HookedModel) -> list[Target]:
        chosen = set(layers_of(model, self.layers))
        mixers = [adapter for adapter in model.mixers if adapter.layer in chosen]
        if not mixers:
            raise InputError(f"No layer that is asked for of {model.cfg.model_name} has a token mixer to cut edges of.")
        layers = sorted({adapter.layer for adapter in mixers})
        if self.each == "model":
            at = " + ".join(f"L{layer}" for layer in layers)
            return [self._target("all" if self.layers == "all" else at, at, layers[0], len(layers))]
        if self.each == "layer":
            return [self._target(f"L{layer}", f"L{layer}", layer) for layer in layers]
        heads = [Site.heads(one.layer, head, mixer=one.index) for one in mixers for head in range(one.n_heads)]
        return [self._target(str(site), str(site), site.layer) for site in heads]

    def binder(self) -> SiteKind:
        return EdgeSites()

    def check(self, model: HookedModel, targets: Sequence[Target], method: MethodKind) -> None:
        if not isinstance(method, Cut):
            raise InputError(f"Edges are cut: choose method cut for sites edges, not {type(method).word}.")

    def check_prompts(self, prompts: Sequence[Prompt]) -> None:
        options = {"destinations": self.destinations, "sources": self.sources}
        for prompt in prompts:
            _pairs(options, prompt, None)

    def bind(self, targets: Sequence[Target], method: MethodKind, around: Surroundings) -> BoundEdit:
        assert isinstance(method, Cut)  # `check` refuses the others when a study is planned
        knockouts = []
        for target in targets:
            pairs = _pairs(target.more, around.prompt, around.positions)
            knockouts += [Knockout.pairs(pairs, meaning=method.meaning, **where) for where in _places(target)]
        return BoundEdit([], whole=around.model.knocked_out(*knockouts))

    def _target(self, where: str, at: str, layer: int, size: int = 1) -> Target:
        options = {"destinations": self.destinations, "sources": self.sources}
        told = [one if isinstance(one, str) else ",".join(map(str, one)) for one in options.values()]
        return Target(f"{where}[{told[0]}<-{told[1]}]", at, layer, size=size, more=options)


def _places(target: Target) -> Iterator[dict[str, Any]]:
    """Layers, heads and mixers of a target, as `Knockout` takes them."""
    sites = [Site.parse(spelling) for spelling in target.at.split(" + ")]
    for site in sites:
        if site.part == "heads":
            yield {"layers": [site.layer], "heads": list(range(site.start, site.stop)), "mixer": site.mixer}
    whole = [site.layer for site in sites if site.part == "layer"]
    if whole:
        yield {"layers": whole}


def _pairs(options: dict[str, Any], prompt: Prompt, positions: tuple[int, ...] | None) -> list[tuple[int, int]]:
    """The edges ``(destination, source)`` in a prompt.

    Raises:
        InputError: there are none, or a number lies outside.
    """
    time = len(prompt.tokens)
    asked, sources = options["destinations"], options["sources"]
    words = {"scored": prompt.scored, "last": (time - 1,), "all": range(time)}
    destinations = words[asked] if isinstance(asked, str) else _numbers(asked, time)
    if sources == "sources" and not any(source >= 0 for source in prompt.sources):
        raise InputError(
            "These prompts do not say where a scored position's answer comes from; name the sources of edges."
        )
    own = dict(zip(prompt.scored, prompt.sources, strict=False))
    pairs = []
    for destination in destinations:
        if positions is not None and destination not in positions:
            continue
        listed = {"sources": [own.get(destination, -1)], "previous": [destination - 1], "first": [0]}
        listed["all"] = list(range(destination))
        read = listed[sources] if isinstance(sources, str) else _numbers(sources, time)
        pairs += [(destination, source) for source in read if 0 <= source < destination]
    if not pairs:
        raise InputError(f"A prompt of {time} tokens has no edge from {sources} to {asked}; sources come earlier.")
    return pairs


def _numbers(asked: Sequence[int], time: int) -> list[int]:
    outside = [one for one in asked if not -time <= one < time]
    if outside:
        raise InputError(f"A prompt of {time} tokens has no position {outside[0]}.")
    return sorted({one % time for one in asked})
