"""Searches without rounds: every target by itself, random sets."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from math import comb

from pydantic import Field

from workbench.errors import InputError
from workbench.studies.edits.site import Target
from workbench.studies.searches.asking import Ask, AskingSearch, singles
from workbench.studies.searches.search import SEARCHES, Bound, Sets


@SEARCHES.register("each")
class Each(AskingSearch):
    """Every target by itself."""

    def search(self, targets: Sequence[Target], ask: Ask, scores: Mapping[str, float], seed: int) -> Sets:
        ask(singles(targets))
        return singles(targets)

    def bound(self, targets: int) -> Bound:
        return Bound(targets, targets)


@SEARCHES.register("random")
class RandomSets(AskingSearch):
    """Random sets of targets, all different: what many of them together do, whichever they are."""

    size: int = Field(ge=1)
    draws: int = Field(default=100, ge=1)

    def search(self, targets: Sequence[Target], ask: Ask, scores: Mapping[str, float], seed: int) -> Sets:
        possible = comb(len(targets), self.size)
        if possible < self.draws:
            raise InputError(
                f"{self.draws} different sets of {self.size} are asked for, and {len(targets)} targets have {possible}."
            )
        generator = random.Random(seed)
        drawn: dict[tuple[int, ...], tuple[Target, ...]] = {}
        while len(drawn) < self.draws:
            numbers = tuple(sorted(generator.sample(range(len(targets)), self.size)))
            drawn[numbers] = tuple(targets[number] for number in numbers)
        ask(list(drawn.values()))
        return list(drawn.values())

    def bound(self, targets: int) -> Bound:
        return Bound(self.draws, self.draws)
