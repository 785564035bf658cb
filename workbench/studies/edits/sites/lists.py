"""Sites that a study lists by name, one by one or as named sets."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.sites import Site
from workbench.studies.edits.placing import PlacedSites, layer_of, selected
from workbench.studies.edits.site import SITES, SiteKind, Target
from workbench.studies.edits.sites.components import HeadSites, LayerSites, MixerSites, MlpSites


@SITES.register("listed")
class ListedSites(PlacedSites):
    """Places as they are written: sites (``L0H1``, ``L5H0:64``, ``L2.mlp``) and hook names that mean one hook each.

    In the file, the list alone will do: ``sites: [L0H1, L2.mlp]``.
    """

    sites: list[str] = Field(default_factory=list)

    def targets(self, model: HookedModel) -> list[Target]:
        if not self.sites:
            raise InputError("The list of sites is empty; name at least one.")
        _refuse_twice(self.sites, "The list of sites")
        return sorted((_listed(model, site) for site in self.sites), key=lambda target: target.layer)

    def pool(self, model: HookedModel) -> list[Target]:
        return components(model)

    def binder(self) -> SiteKind:
        return ListedSites()


@SITES.register("sets")
class NamedSets(PlacedSites):
    """Sets of places, each one target: ``{induction: [L5H1, L6H3]}``. Random controls replace every place of a set."""

    sets: dict[str, list[str]] = Field(min_length=1)

    def targets(self, model: HookedModel) -> list[Target]:
        return [self._target(model, name, sites) for name, sites in self.sets.items()]

    def pool(self, model: HookedModel) -> list[Target]:
        return components(model)

    def binder(self) -> SiteKind:
        return ListedSites()

    def _target(self, model: HookedModel, name: str, sites: list[str]) -> Target:
        if not sites:
            raise InputError(f"The set {name!r} is empty; name at least one site.")
        _refuse_twice(sites, f"The set {name!r}")
        parts = [_listed(model, site) for site in sites]
        spelled = sorted(part.at for part in parts)
        size, layer = sum(part.size for part in parts), min(part.layer for part in parts)
        return Target(name, " + ".join(spelled), layer, size=size, more={"sites": spelled})


def components(model: HookedModel) -> list[Target]:
    """Every head, mixer, MLP and layer: what random controls of listed places are drawn from."""
    found: list[Target] = []
    for kind in (HeadSites(), MixerSites(), MlpSites(), LayerSites()):
        try:
            found += kind.targets(model)
        except InputError:
            continue  # a model without heads or MLPs has none to draw
    return found


def _listed(model: HookedModel, spelling: str) -> Target:
    """The target that a spelling means. Raises InputError or HookNameError where the model has no such place."""
    places = selected(model, Target(spelling, spelling, 0))
    heads = sum(len(place.heads or ()) for place in places)
    return Target(spelling, _canonical(spelling), min(layer_of(place.name) for place in places), size=max(1, heads))


def _canonical(spelling: str) -> str:
    """A site as `Site` writes it; a hook name as it is."""
    try:
        return str(Site.parse(spelling))
    except InputError:
        return spelling


def _refuse_twice(sites: Iterable[str], where: str) -> None:
    written = [_canonical(site) for site in sites]
    twice = next((site for site in written if written.count(site) > 1), None)
    if twice is not None:
        raise InputError(f"{where} names {twice} twice.")
