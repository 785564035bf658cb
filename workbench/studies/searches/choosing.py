"""Searches among the best: pairs, the best k together, and forward selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from workbench.errors import InputError
from workbench.studies.edits.site import Target
from workbench.studies.searches.asking import Ask, AskingSearch, Goal, best, gain, singles
from workbench.studies.searches.search import SCORES, SEARCHES, Bound, ScoreKind, Sets


def _effect_or_score(given: Any) -> Any:
    return given if given == "effect" else SCORES.parse(given)


By = Annotated[Literal["effect"] | SerializeAsAny[ScoreKind], BeforeValidator(_effect_or_score)]
"""What targets are ranked by: the effect of editing each alone, or a score that needs no edit."""


@SEARCHES.register("pairs")
class Pairs(AskingSearch):
    """Every target by itself and every pair, for interactions: what a pair does beyond what its two do alone.

    With `among`, only pairs of the best so many. It ends with the pair of the largest interaction.
    """

    among: int | None = Field(default=None, ge=2)
    goal: Goal = "move"

    def search(self, targets: Sequence[Target], ask: Ask, scores: Mapping[str, float], seed: int) -> Sets:
        if len(targets) < 2:
            raise InputError("Pairs need at least two targets.")
        if self.among is None:
            pairs = list(combinations(targets, 2))
            ask([*singles(targets), *pairs])
        else:
            gains = [gain(effect, self.goal) for effect in ask(singles(targets))]
            pairs = list(combinations(best(targets, gains, self.among), 2))
        alone = {target.label: effect for target, effect in zip(targets, ask(singles(targets)), strict=True)}
        beyond = [
            gain(effect - alone[first.label] - alone[second.label], "move")
            for effect, (first, second) in zip(ask(list(pairs)), pairs, strict=True)
        ]
        return [pairs[max(range(len(pairs)), key=lambda number: (beyond[number], -number))]]

    def bound(self, targets: int) -> Bound:
        return Bound(targets + comb(min(self.among or targets, targets), 2))


@SEARCHES.register("top")
class Top(AskingSearch):
    """The best k, each by itself, and all of them together; with `cumulative`, the best 1, 2, ... k together, too."""

    k: int = Field(ge=1)
    by: By = "effect"
    goal: Goal = "move"
    """Of effects; of scores, the larger is the better."""
    cumulative: bool = False

    @property
    def score(self) -> ScoreKind | None:
        return None if self.by == "effect" else self.by

    def search(self, targets: Sequence[Target], ask: Ask, scores: Mapping[str, float], seed: int) -> Sets:
        if self.by == "effect":
            gains = [gain(effect, self.goal) for effect in ask(singles(targets))]
        else:
            gains = [gain(scores[target.label], "raise") for target in targets]
        chosen = best(targets, gains, self.k)
        sizes = range(2, self.k) if self.cumulative else range(0)
        several = [tuple(best(targets, gains, size)) for size in sizes]
        ask([*singles(chosen), *several, tuple(chosen)])
        return [tuple(chosen)]

    def bound(self, targets: int) -> Bound:
        alone = targets if self.by == "effect" else self.k
        return Bound(alone + (self.k > 1) + (max(0, self.k - 2) if self.cumulative else 0))


@SEARCHES.register("greedy")
class Greedy(AskingSearch):
    """Forward selection: the best target, then the best beside it, and so on, until none adds more than `gain`."""

    k: int = Field(ge=1)
    """Targets at most."""
    gain: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """What a further target must add, in units of the metric."""
    goal: Goal = "move"

    def search(self, targets: Sequence[Target], ask: Ask, scores: Mapping[str, float], seed: int) -> Sets:
        chosen: list[int] = []
        reached = 0.0
        while len(chosen) < min(self.k, len(targets)):
            others = [number for number in range(len(targets)) if number not in chosen]
            sets = [tuple(targets[number] for number in sorted([*chosen, other])) for other in others]
            gains = [gain(effect, self.goal) for effect in ask(sets)]
            first = max(range(len(others)), key=lambda number: (gains[number], -number))
            if not gains[first] - reached > self.gain:
                break
            chosen.append(others[first])
            reached = gains[first]
        return [tuple(targets[number] for number in sorted(chosen))] if chosen else []

    def bound(self, targets: int) -> Bound:
        return Bound(sum(targets - step for step in range(min(self.k, targets))))
