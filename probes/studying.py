"""Head finders as scores of studies: heads are tried in the order of how much they are of a kind."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from pydantic import Field, JsonValue, field_validator

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.heads import find_heads, get_kind
from workbench.probes.heads.kinds import check_options
from workbench.sites import Site
from workbench.studies.edits.site import Target
from workbench.studies.searches.search import SCORES, ScoreKind

_OURS = ("layers", "group", "progress")


@SCORES.register("finder")
class FinderScore(ScoreKind):
    """A head finder's score (`find_heads`): ``{kind: finder, finds: induction}``."""

    finds: str
    """A kind of head: ``induction``, ``previous_token``, ``retrieval``, ``successor``, ..."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Of the finder, such as ``block`` and ``batch``."""

    @field_validator("finds")
    @classmethod
    def _known(cls, finds: str) -> str:
        try:
            get_kind(finds)
        except InputError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return finds

    def scores(self, model: HookedModel, targets: Sequence[Target], seed: int) -> list[float]:
        find = get_kind(self.finds).find
        options: dict[str, Any] = dict(self.options)
        check_options(find, options, f"The finder of {self.finds} heads")
        ours = next((name for name in _OURS if name in options), None)
        if ours is not None:
            raise InputError(f"The option {ours} of the finder is set by the sites of the study.")
        if "seeds" in _taken(find):
            options.setdefault("seeds", [seed])
        by_site: dict[str, float] = {}
        sites = [_heads(target) for target in targets]
        for group in sorted({site.stop - site.start for site in sites}):
            layers = sorted({site.layer for site in sites if site.stop - site.start == group})
            table = find_heads(model, self.finds, layers=layers, group=group, **options)
            by_site |= dict(zip(map(str, table["site"]), map(float, table["score"]), strict=True))
        missing = next((site for site in sites if str(site) not in by_site), None)
        if missing is not None:
            raise InputError(f"The finder of {self.finds} heads gives {missing} no score.")
        return [by_site[str(site)] for site in sites]


def _heads(target: Target) -> Site:
    """A target's heads. Raises InputError for one that is none."""
    try:
        site = Site.parse(target.at)
    except InputError:
        site = Site(target.layer)
    if site.part != "heads":
        raise InputError(f"A head finder scores heads, and {target.label} is none; choose sites: heads.")
    return site


def _taken(find: Any) -> set[str]:
    return set(inspect.signature(find).parameters)
