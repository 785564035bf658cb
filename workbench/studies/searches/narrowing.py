"""Searches for how little is enough: the shortest prefix, and a set of which nothing can be left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from pydantic import Field

from workbench.studies.edits.site import Target
from workbench.studies.searches.asking import Ask, AskingSearch
from workbench.studies.searches.search import SEARCHES, Bound, Sets


@SEARCHES.register("bisection")
class Bisection(AskingSearch):
    """The shortest prefix of the targets, in the order of the forward pass, that has a share of the effect of them all.

    With sites ``layers``: the layer up to which so much is done. Prefixes are halved, which finds the shortest one
    where longer prefixes do no less; else it finds one that has the share while the next shorter one has not.
    """

    share: float = Field(default=0.5, gt=0, le=1)
    backward: bool = False
    """Suffixes instead: from the last layer downwards."""

    def search(self, targets: Sequence[Target], ask: Ask, scores: Mapping[str, float], seed: int) -> Sets:
        ordered = list(reversed(targets)) if self.backward else list(targets)
        enough = _Enough(ask, targets, self.share)
        if not enough.possible:
            return []
        short, long = 0, len(ordered)
        while long - short > 1:
            middle = (short + long) // 2
            short, long = (short, middle) if enough(ordered[:middle]) else (middle, long)
        return [enough.ordered(ordered[:long])]

    def bound(self, targets: int) -> Bound:
        return Bound(1 + math.ceil(math.log2(max(1, targets))))  # all of them, and a prefix for every halving


@SEARCHES.register("minimal")
class Minimal(AskingSearch):
    """A set that has a share of the effect of all targets, and loses it without any one of its members.

    Delta debugging: the algorithm ddmin of Zeller and Hildebrandt 2002 ("Simplifying and Isolating Failure-Inducing
    Input", IEEE TSE 28(2), figure 3). Smaller sets may exist; none that leaves out a single member does.
    """

    share: float = Field(default=0.8, gt=0, le=1)

    def search(self, targets: Sequence[Target], ask: Ask, scores: Mapping[str, float], seed: int) -> Sets:
        enough = _Enough(ask, targets, self.share)
        if not enough.possible:
            return []
        kept, pieces = list(targets), 2
        while len(kept) > 1:
            parts = _parts(kept, pieces)
            others = [[one for one in kept if one not in part] for part in parts]
            part = enough.first(parts)
            other = None if part is not None or pieces == 2 else enough.first(others)
            if part is not None:
                kept, pieces = part, 2
            elif other is not None:
                kept, pieces = other, max(pieces - 1, 2)
            elif pieces < len(kept):
                pieces = min(2 * pieces, len(kept))
            else:
                break
        return [enough.ordered(kept)]

    def bound(self, targets: int) -> Bound:
        return Bound(targets**2 + 3 * targets)  # the same paper, proposition 12


class _Enough:
    """Whether sets have a share of the effect of all targets, in its direction."""

    def __init__(self, ask: Ask, targets: Sequence[Target], share: float) -> None:
        self._ask, self._share = ask, share
        self._place = {target.label: number for number, target in enumerate(targets)}
        self._whole = ask([tuple(targets)])[0] if targets else math.nan

    @property
    def possible(self) -> bool:
        """Whether there is an effect to have a share of."""
        return self._whole != 0 and not math.isnan(self._whole)

    def __call__(self, targets: Sequence[Target]) -> bool:
        return self._has(self._ask([self.ordered(targets)])[0])

    def first(self, several: Sequence[Sequence[Target]]) -> list[Target] | None:
        """The first of several sets, asked for together, that has the share."""
        effects = self._ask([self.ordered(one) for one in several])
        return next((list(one) for one, effect in zip(several, effects, strict=True) if self._has(effect)), None)

    def ordered(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Targets in the order of the forward pass."""
        return tuple(sorted(targets, key=lambda target: self._place[target.label]))

    def _has(self, effect: float) -> bool:
        # An effect that could not be measured compares as false.
        return effect / self._whole >= self._share


def _parts(targets: list[Target], count: int) -> list[list[Target]]:
    """The targets in so many runs, as equal as can be."""
    bounds = [round(number * len(targets) / count) for number in range(count + 1)]
    return [targets[start:stop] for start, stop in pairwise(bounds) if stop > start]
