"""Sites that a study lists by name, one by one or as named sets."""

from __future__ import annotations

from pydantic import Field

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.studies.edits.placing import PlacedSites, layer_of, selected
from workbench.studies.edits.site import SITES, SiteKind, Target


@SITES.register("listed")
class ListedSites(PlacedSites):
    """Places as they are written: sites (``L0H1``, ``L5H0:64``, ``L2.mlp``) and hook names that mean one hook each.

    In the file, the list alone will do: ``sites: [L0H1, L2.mlp]``.
    """

    sites: list[str] = Field(default_factory=list)

    def targets(self, model: HookedModel) -> list[Target]:
        found = [listed_target(model, site) for site in self.sites]
        if not found:
            raise InputError("The list of sites is empty; name at least one.")
        return _apart(found)

    def binder(self) -> SiteKind:
        return ListedSites()


def listed_target(model: HookedModel, spelling: str) -> Target:
    """The target that a spelling means. Raises InputError or HookNameError where the model has no such place."""
    bare = Target(spelling, spelling, 0)
    places = selected(model, bare)
    heads = sum(len(place.heads or ()) for place in places)
    return Target(spelling, spelling, min(layer_of(place.name) for place in places), size=max(1, heads))


def _apart(found: list[Target]) -> list[Target]:
    labels = [target.label for target in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise InputError(f"The site {twice} is listed twice.")
    return sorted(found, key=lambda target: target.layer)
