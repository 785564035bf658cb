"""Features as sites of studies: edited where an autoencoder reads, with what it does not explain left as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from pydantic import Field, model_validator
from torch import Tensor

from workbench.errors import InputError, offer
from workbench.hooks import HookFunction
from workbench.interventions.selection import Change
from workbench.model import HookedModel
from workbench.saes import shipped
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.files import load_sae
from workbench.saes.site import VectorSite
from workbench.saes.splice import Splice
from workbench.steps import AtSteps, at_steps
from workbench.studies.edits.files import content_digest, found
from workbench.studies.edits.method import Donors, MethodKind, Surroundings
from workbench.studies.edits.placing import layer_of, spelled
from workbench.studies.edits.site import SITES, BoundEdit, SiteKind, Target
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.kinds import AnyPath

REPETITION = "repetition"

# What these put in a feature's place is known of the hook's tensor alone, not of the features in it.
UNFIT = ("mean", "noise", "steer", "cut")
FIT = ("zero", "scale", "fix", "add", "patch", "resample")


@SITES.register("features")
class FeatureSites(SiteKind):
    """Features of an autoencoder, each a target: numbers, or the first so many by a measure.

    The edit is that of `FeatureEdit`: the difference that it makes to the reconstruction is added to what is there.
    """

    sae: str
    """Its folder, relative to the study file, or its name in the zoo: ``zoo:mamba/state``."""
    digest: str | None = None
    """Of the folder's content; another content is then refused."""
    features: list[int] | None = Field(default=None, min_length=1)
    top: int | None = Field(default=None, ge=1)
    by: str = "density"
    """What `top` goes by: a number that a feature store has of every feature (``density``, ``max``), or ``repetition``:
    how much more it fires on random tokens that are repeated."""
    store: AnyPath | None = None
    """A feature store's folder, relative to the study file."""

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSites:
        if self.features is not None and self.top is not None:
            raise ValueError("features are listed, or the top so many of them are taken; not both")
        if self.top is not None and self.by != REPETITION and self.store is None:
            raise ValueError(f"to take the top by {self.by}, name the store that has it; by: {REPETITION} needs none")
        return self

    def located(self, base: Path) -> SiteKind:
        store = None if self.store is None else found(base, self.store, None)[0]
        if self.sae.startswith(shipped.PREFIX):
            digest = content_digest(shipped.directory(self.sae))
            if self.digest not in (None, digest):
                raise InputError(f"{self.sae} has changed: its digest is {digest}, and the study says {self.digest}.")
            return self.model_copy(update={"digest": digest, "store": store})
        place, digest = found(base, Path(self.sae), self.digest)
        return self.model_copy(update={"sae": str(place), "digest": digest, "store": store})

    def targets(self, model: HookedModel) -> list[Target]:
        sae = _loaded(self.sae, self.digest)
        site = sae.site_out(model)
        layer = min(layer_of(site.hook), layer_of(sae.site(model).hook))
        return [
            Target(f"{spelled(site.hook)}.F{number}", site.hook, layer, units=(number,))
            for number in self._numbers(model, sae)
        ]

    def pool(self, model: HookedModel) -> list[Target]:
        return self.model_copy(update={"features": None, "top": None}).targets(model)

    def binder(self) -> SiteKind:
        return FeatureSites(sae=self.sae, digest=self.digest)

    def check(self, model: HookedModel, targets: Sequence[Target], method: MethodKind) -> None:
        word = type(method).word
        if word in UNFIT:
            raise InputError(f"Features cannot be edited by {word}; choose {', '.join(FIT)}.")

    def bind(self, targets: Sequence[Target], method: MethodKind, around: Surroundings) -> BoundEdit:
        sae = _loaded(self.sae, self.digest)
        site = sae.site_out(around.model)
        inner = replace(around, donors=_FeatureDonors(around.donors, sae, around.model))
        features = sorted({unit for target in targets for unit in target.units or ()})
        splice = _Edited(sae, features, method.change(site.hook, inner), site, around)
        return BoundEdit([splice.bounded(hook) for hook in splice.hooks(around.model)])

    def _numbers(self, model: HookedModel, sae: SparseAutoencoder) -> list[int]:
        count = sae.cfg.d_sae
        if self.features is not None:
            wrong = next((one for one in self.features if not 0 <= one < count), None)
            if wrong is not None:
                raise InputError(f"There is no feature {wrong}; {self.sae} has 0 to {count - 1}.")
            return sorted(set(self.features))
        if self.top is None:
            return list(range(count))
        ranked = _by_repetition(model, sae) if self.by == REPETITION else self._by_store(count)
        return sorted(ranked[: self.top])

    def _by_store(self, count: int) -> list[int]:
        from workbench.saes.features import FeatureStore

        assert self.store is not None  # `_consistent` asks for it
        table = FeatureStore(self.store).features()
        measures = [name for name in table.select_dtypes("number").columns if name != "feature"]
        if self.by not in measures:
            raise InputError(f"The store {self.store} has no {self.by!r} of features; {offer(self.by, measures)}.")
        if len(table) != count:
            raise InputError(f"The store {self.store} is of {len(table)} features, and {self.sae} has {count}.")
        ordered = table.sort_values(self.by, ascending=False, kind="stable")
        return [int(number) for number in ordered["feature"]]


@dataclass(frozen=True)
class _FeatureDonors:
    """Activations of features in the place of those of the hook that an autoencoder reads."""

    plain: Donors
    sae: SparseAutoencoder
    model: HookedModel

    def activation(self, name: str, prompt: Prompt) -> Tensor:
        """Features at every token, ``[1, time, d_sae]``, whether or not the autoencoder reads it."""
        site = self.sae.site(self.model)
        point = self.model.points[site.hook]
        tensor = self.plain.activation(site.hook, prompt)
        # A state comes after every step, ``[1, time, ...]``; what is shown at one step has no axis of time.
        vectors = site.read(tensor[0], point)[None] if point.per_step else site.read(tensor, point)
        return self.sae.encode(vectors)

    def partner(self, prompt: Prompt, source: str, seed: int) -> Prompt:
        return self.plain.partner(prompt, source, seed)

    def mean(self, name: str, source: str, per_position: bool) -> Tensor:
        raise InputError("Features have no mean among what a study records of a hook.")

    def deviation(self, name: str, source: str) -> Tensor:
        raise InputError("Features have no deviation among what a study records of a hook.")


class _Edited(Splice):
    """The splice of an edit: some features changed, at some positions."""

    def __init__(
        self, sae: SparseAutoencoder, features: Sequence[int], change: Change, site: VectorSite, around: Surroundings
    ) -> None:
        super().__init__(sae, keep_error=True)
        self.numbers, self.edit, self.place, self.around = list(features), change, site, around
        self.point = around.model.points[site.hook]

    def bounded(self, hook: tuple[str, HookFunction]) -> tuple[str, HookFunction]:
        """A hook on a state called at the steps in question alone, so that the others run at full speed."""
        name, function = hook
        positions = self.around.positions
        if positions is None or not self.around.model.points[name].per_step:
            return hook
        steps = [step for step in positions if step % self.place.every == self.place.every - 1]
        if not steps:
            raise InputError(
                f"No position that is edited is read: the autoencoder reads one token in {self.place.every} "
                f"({self.place.every - 1}, {2 * self.place.every - 1}, ...)."
            )
        return name, at_steps(function.function if isinstance(function, AtSteps) else function, steps)

    def changed(self, features: Tensor, at: range) -> Tensor:
        positions = self.around.positions
        here = [positions is None or position in positions for position in at]
        if not any(here):
            return features
        where = torch.tensor(here, device=features.device)
        where = where[:, None] if features.dim() == 3 else where
        index = torch.tensor(self.numbers, device=features.device)
        new = self._new(features, at).index_select(-1, index)
        old = features.index_select(-1, index)
        return features.index_copy(-1, index, torch.where(where, new, old))

    def _new(self, features: Tensor, at: range) -> Tensor:
        """What the method makes of the features; it counts tokens one by one, whichever the autoencoder reads."""
        if features.dim() == 2 or at.step == 1:
            return self.edit(features, self.point)
        first = at.start - self.around.model.past
        tokens = features.new_zeros(len(features), first + len(at) * at.step, features.shape[-1])
        tokens[:, first :: at.step] = features
        return self.edit(tokens[:, : at[-1] + 1 - self.around.model.past], self.point)[:, first :: at.step]


@lru_cache(maxsize=8)
def _loaded(place: str, digest: str | None) -> SparseAutoencoder:
    """An autoencoder, read once. Raises InputError where it is not the one that the study was planned with."""
    folder = shipped.directory(place) if place.startswith(shipped.PREFIX) else Path(place)
    sae = load_sae(place)
    if digest is not None and content_digest(folder) != digest:
        raise InputError(f"{place} is not the autoencoder that the study was planned with; run it with --replan.")
    return sae


def _by_repetition(model: HookedModel, sae: SparseAutoencoder) -> list[int]:
    """Features that fire more on what is repeated, the largest effect first."""
    from workbench.saes.using.repetition import find_repetition_features
    from workbench.tasks import repeated_random_tokens

    windows = repeated_random_tokens(model, 32, batch=32, seed=0).tokens[:, :32]
    return find_repetition_features(model, sae, windows).chosen(sae.cfg.d_sae)
