"""The plainest search: every target by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.studies.edits.site import Target
from workbench.studies.searches.search import SEARCHES, SearchKind, Sets


@SEARCHES.register("each")
class Each(SearchKind):
    """Every target by itself."""

    def propose(
        self,
        targets: Sequence[Target],
        effects: Mapping[frozenset[str], float],
        scores: Mapping[str, float],
        seed: int,
    ) -> Sets:
        return [(target,) for target in targets if frozenset([target.label]) not in effects]
