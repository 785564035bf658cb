"""Searches written as plain algorithms: they ask for effects, and are run again from the start when more are known."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, TypeAlias

from workbench.errors import InputError
from workbench.studies.edits.site import Target
from workbench.studies.searches.search import SearchKind, Sets

Ask: TypeAlias = Callable[[Sets], list[float]]
"""Effects of sets, one each; NaN where one could not be measured. The empty set has none: 0."""

Goal: TypeAlias = Literal["move", "raise", "lower"]
"""Which effects are large: those that move the metric either way, that raise it, or that lower it."""


class _Unknown(Exception):
    """An effect that is not known yet is needed to go on."""


class AskingSearch(SearchKind):
    """A search that is an algorithm over effects. It is deterministic, so running it again asks the same again."""

    @abstractmethod
    def search(self, targets: Sequence[Target], ask: Ask, scores: Mapping[str, float], seed: int) -> Sets:
        """Ask for the effects of sets, several at once where it can; return the sets that it ends with."""

    def propose(
        self,
        targets: Sequence[Target],
        effects: Mapping[frozenset[str], float],
        scores: Mapping[str, float],
        seed: int,
    ) -> Sets:
        unknown: Sets = []

        def ask(sets: Sets) -> list[float]:
            unknown.extend(_new(sets, effects))
            if unknown:
                raise _Unknown
            return _answers(sets, effects)

        with suppress(_Unknown):
            self.search(targets, ask, scores, seed)
        return unknown

    def rounds(
        self,
        targets: Sequence[Target],
        effects: Mapping[frozenset[str], float],
        scores: Mapping[str, float],
        seed: int,
        most: int,
    ) -> list[Sets]:
        """What `propose` gives round after round, in one go: at most so many rounds.

        A set of an earlier round that has no effect could not be measured.
        """
        asked: dict[frozenset[str], float] = {}
        played: list[Sets] = []

        def ask(sets: Sets) -> list[float]:
            new = _new(sets, asked)
            if new:
                played.append(new)
                if len(played) == most:
                    raise _Unknown
                asked.update((labels_of(one), effects.get(labels_of(one), math.nan)) for one in new)
            return _answers(sets, asked)

        with suppress(_Unknown):
            self.search(targets, ask, scores, seed)
        return played

    def found(
        self,
        targets: Sequence[Target],
        effects: Mapping[frozenset[str], float],
        scores: Mapping[str, float],
        seed: int,
    ) -> Sets:
        return self.search(targets, lambda sets: _answers(sets, effects), scores, seed)


def gain(effect: float, goal: Goal) -> float:
    """How much an effect is of what is looked for; minus infinity where it could not be measured."""
    if math.isnan(effect):
        return -math.inf
    return abs(effect) if goal == "move" else effect if goal == "raise" else -effect


def best(targets: Sequence[Target], gains: Sequence[float], count: int) -> list[Target]:
    """The targets with the largest gains, in the order of the forward pass; of equals, the first.

    Raises:
        InputError: there are not so many.
    """
    if count > len(targets):
        raise InputError(f"The best {count} are asked for, and there are {len(targets)} targets.")
    order = sorted(range(len(targets)), key=lambda number: (-gains[number], number))
    return [targets[number] for number in sorted(order[:count])]


def singles(targets: Sequence[Target]) -> Sets:
    """Every target by itself."""
    return [(target,) for target in targets]


def labels_of(one: Sequence[Target]) -> frozenset[str]:
    """What effects are found by."""
    return frozenset(target.label for target in one)


def _new(sets: Sets, known: Mapping[frozenset[str], float]) -> Sets:
    """The sets whose effects are not known, each once."""
    named = {labels_of(one): one for one in sets}
    return [one for labels, one in named.items() if labels and labels not in known]


def _answers(sets: Sets, known: Mapping[frozenset[str], float]) -> list[float]:
    return [known.get(labels, math.nan) if labels else 0.0 for labels in map(labels_of, sets)]
