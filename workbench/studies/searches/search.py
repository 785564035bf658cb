"""Searches: which sets of targets are tried, given what those tried before have done."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import SerializeAsAny

from workbench.model import HookedModel
from workbench.studies.edits.site import Target
from workbench.studies.kinds import Kind, Registry

Sets = list[tuple[Target, ...]]


class ScoreKind(Kind):
    """A number for every target before anything is edited, such as a head finder's score."""

    @abstractmethod
    def scores(self, model: HookedModel, targets: Sequence[Target], seed: int) -> list[float]:
        """One number a target; the larger, the sooner it is tried."""


@dataclass(frozen=True)
class Bound:
    """How far a search goes at most.

    Attributes:
        sets: that it asks for, all rounds together.
        found: sets that it ends with, each of which gets random controls where the study asks for them.
    """

    sets: int
    found: int = 1


SCORES: Registry[ScoreKind] = Registry("score")
Score = Annotated[SerializeAsAny[ScoreKind], SCORES.field()]


class SearchKind(Kind):
    """A way to search. It remembers nothing: a resumed study asks it again with all that is known, and goes on."""

    @abstractmethod
    def propose(
        self,
        targets: Sequence[Target],
        effects: Mapping[frozenset[str], float],
        scores: Mapping[str, float],
        seed: int,
    ) -> Sets:
        """The sets to try next; empty at the end.

        Args:
            targets: every target, in the order of the forward pass; labels are unique.
            effects: mean effect of each set tried so far, by its labels: edited less baseline, of the search's metric
                on the prompts to discover with; NaN where it could not be measured.
            scores: by label, where the search asks for a score; empty else.
        """

    @property
    def score(self) -> ScoreKind | None:
        """The score that it needs before the first round, or None."""
        return None

    def bound(self, targets: int) -> Bound | None:
        """What it comes to at most with so many targets; None where that is not known beforehand."""
        return None

    def found(
        self,
        targets: Sequence[Target],
        effects: Mapping[frozenset[str], float],
        scores: Mapping[str, float],
        seed: int,
    ) -> Sets:
        """The sets that it ended with, which random controls are drawn for; by default each target."""
        return [(target,) for target in targets]


SEARCHES: Registry[SearchKind] = Registry("search")
