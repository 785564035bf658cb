"""Features as handles: clamp, add to, ablate or patch them while a model reads a text or writes one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction
from workbench.interventions import Intervention, Positions
from workbench.interventions.positions import When
from workbench.model import HookedModel
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.site import VectorSite
from workbench.saes.splice import Splice
from workbench.saes.using.reading import read_features
from workbench.steps import at_steps
from workbench.wrapping import Mask, ModelInput

PerFeature: TypeAlias = "Mapping[int, float] | Sequence[float] | Tensor"
"""A number of each feature: anything that is indexed by its number (a table's column, a tensor, a dictionary)."""


@dataclass(frozen=True, eq=False)
class _Donor:
    """Another run, and which of its tokens the features come from."""

    text: ModelInput
    mask: Mask
    when: When


@dataclass(frozen=True, eq=False)
class _Part:
    """One change: of some features, at some positions."""

    kind: str
    features: tuple[int, ...]
    values: tuple[float, ...]
    when: When
    donor: _Donor | None = None


class FeatureEdit(Intervention):
    """Change features of an autoencoder: make one by `clamp`, `add`, `ablate` or `patch`; join several by `then`.

    What the autoencoder does not explain stays (Templeton et al. 2024, "Scaling Monosemanticity"; Marks et al. 2024,
    arXiv:2403.19647, section 2), so an edit that changes no feature changes nothing. It acts on every token that the
    autoencoder reads, on generated ones, too, unless positions say otherwise; like every `Intervention` it goes into
    one run with others.

    Args:
        sae: the autoencoder; of a transcoder, what it predicts is changed.
        parts: the changes, in order.
        keep_error: False also drops what the autoencoder does not explain, at every token that it reads.
        site: where, when the file does not say, or another place than it was trained at.
    """

    def __init__(
        self,
        sae: SparseAutoencoder,
        parts: Iterable[_Part] = (),
        *,
        keep_error: bool = True,
        site: VectorSite | None = None,
    ) -> None:
        self.sae, self.parts, self.keep_error, self.at = sae, tuple(parts), keep_error, site

    def __repr__(self) -> str:
        told = (f"{part.kind} {', '.join(str(feature) for feature in part.features[:6])}" for part in self.parts)
        return f"FeatureEdit({'; '.join(told) or 'nothing'})"

    @classmethod
    def clamp(
        cls,
        sae: SparseAutoencoder,
        values: Mapping[int, float],
        positions: Positions = None,
        *,
        maxima: PerFeature | None = None,
        keep_error: bool = True,
        site: VectorSite | None = None,
    ) -> FeatureEdit:
        """Hold features at values, whether they fire or not.

        Args:
            values: activation by feature.
            positions: tokens, or steps of a state; all by default, those yet to be generated included.
            maxima: the largest activation of each feature (``store.features()["max"]``): values then count in it.

        Raises:
            InputError: no feature, one that the autoencoder lacks, a value that is no number, or a maximum of 0.
        """
        return cls(sae, [_part(sae, "clamp", values, positions, maxima)], keep_error=keep_error, site=site)

    @classmethod
    def add(
        cls,
        sae: SparseAutoencoder,
        values: Mapping[int, float],
        positions: Positions = None,
        *,
        maxima: PerFeature | None = None,
        keep_error: bool = True,
        site: VectorSite | None = None,
    ) -> FeatureEdit:
        """Add to what features are; a negative value steers away, below zero if need be. See `clamp`."""
        return cls(sae, [_part(sae, "add", values, positions, maxima)], keep_error=keep_error, site=site)

    @classmethod
    def ablate(
        cls,
        sae: SparseAutoencoder,
        features: Iterable[int],
        positions: Positions = None,
        *,
        means: PerFeature | None = None,
        keep_error: bool = True,
        site: VectorSite | None = None,
    ) -> FeatureEdit:
        """Set features to 0, or to their mean over some text.

        Args:
            means: of each feature over all tokens, for example ``read_features(model, sae, text).mean((0, 1))``.

        Raises:
            InputError: as `clamp`.
        """
        values = {feature: 0.0 if means is None else float(means[feature]) for feature in _numbers(sae, features)}
        part = _part(sae, "ablate", values, positions, None)
        return cls(sae, [part], keep_error=keep_error, site=site)

    @classmethod
    def patch(
        cls,
        sae: SparseAutoencoder,
        features: Iterable[int] | None,
        source: ModelInput,
        positions: Positions = None,
        *,
        source_positions: Positions = None,
        source_mask: Mask = None,
        keep_error: bool = True,
        site: VectorSite | None = None,
    ) -> FeatureEdit:
        """Give features the activations that they have in another run.

        Args:
            features: their numbers; None for all.
            source: the other run, texts or tokens.
            positions: where to put them; all by default, which needs runs of one length. Generated tokens have no
                counterpart and keep theirs.
            source_positions: where to take them from, one for one; the same positions by default.
            source_mask: 1 or True where source tokens are text, 0 where they are padding.

        Raises:
            InputError: as `clamp`; on use, runs or positions that do not fit.
        """
        chosen = tuple(range(sae.cfg.d_sae)) if features is None else _numbers(sae, features)
        when = When.of(positions)
        donor = _Donor(source, source_mask, when if source_positions is None else When.of(source_positions))
        return cls(sae, [_Part("patch", chosen, (), when, donor)], keep_error=keep_error, site=site)

    def then(self, other: FeatureEdit) -> FeatureEdit:
        """Both edits on one reading of the autoencoder, this one first.

        Raises:
            InputError: edits of two autoencoders or places: those go into one run as two interventions.
        """
        if other.sae is not self.sae or (other.keep_error, other.at) != (self.keep_error, self.at):
            raise InputError(
                "Edits of different autoencoders, places or errors cannot be joined; put both into one run: "
                "model.hooks([*first.hooks(model), *second.hooks(model)])."
            )
        return FeatureEdit(self.sae, [*self.parts, *other.parts], keep_error=self.keep_error, site=self.at)

    def hooks(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> list[tuple[str, HookFunction]]:
        """Hooks that edit; runs to patch from are made now. See `Intervention.hooks`.

        Positions that count from the end need `tokens`.

        Raises:
            InputError: the autoencoder does not fit the model, or a position that it does not read.
        """
        if not self.parts and self.keep_error:
            return []
        time = None if tokens is None else model.prepared(tokens, attention_mask)[0].shape[1]
        # What is predicted is edited: a transcoder reads as often as it writes.
        site = self.sae.site_out(model) if self.at is None else self.at
        placed = [_Placed.of(part, model, self.sae, site, time) for part in self.parts]
        hooks = _Edited(self.sae, placed, self.keep_error, self.at).hooks(model)
        steps = _bounded(placed)
        if not model.points[site.hook].per_step or steps is None or not self.keep_error:
            return hooks
        return [(name, at_steps(hook, steps)) for name, hook in hooks]


@dataclass(frozen=True, eq=False)
class _Placed:
    """A part in a run: positions from 0 on, and the features of the other run.

    Attributes:
        taken: ``[sequences, positions, features]``, in the order of `positions`; None but for patches.
        positions: ``[sequences, positions]`` that a patch is put at, or that are listed; None for a range.
        whole: a patch of all tokens, which needs runs of one length.
    """

    part: _Part
    positions: Int[Tensor, "rows n"] | None
    taken: Float[Tensor, "_rows n features"] | None = None
    whole: bool = False

    @classmethod
    def of(cls, part: _Part, model: HookedModel, sae: SparseAutoencoder, site: VectorSite, time: int | None) -> _Placed:
        when = part.when
        listed, whole = None, part.donor is not None and when == When()
        if when.listed is not None:
            if time is None and bool((when.listed < 0).any()):
                raise InputError(
                    "Positions that count from the end need the tokens that will be run: hooks(model, tokens)."
                )
            listed = when.listed if time is None else when.within(time)
            _check_read(listed, site)
        if part.donor is None:
            return cls(part, listed)
        place = None if sae.cfg.transcodes else site
        source, mask = model.prepared(part.donor.text, part.donor.mask)
        features = read_features(model, sae, source, mask, site=place)[..., list(part.features)]
        taken = part.donor.when.within(source.shape[1])
        if part.donor.when.listed is None:
            taken = taken[:, (taken[0] % site.every) == site.every - 1]
        _check_read(taken, site)
        rows = (taken - (site.every - 1)) // site.every
        if len(rows) not in (1, len(features)):
            raise InputError(f"There are positions for {len(rows)} sequences, and the other run has {len(features)}.")
        chosen = torch.stack([one[row] for one, row in zip(features, rows.expand(len(features), -1), strict=True)])
        if listed is None:
            first, last = when.span
            listed = torch.tensor([[at for at in site.positions(last or source.shape[1]) if at >= first]])
        if listed.shape[1] != rows.shape[1]:
            raise InputError(
                f"{listed.shape[1]} positions are to be patched from {rows.shape[1]}; each needs one of its own."
            )
        return cls(part, listed, chosen, whole)

    def changed(self, features: Float[Tensor, "batch n d_sae"], at: range) -> Float[Tensor, "batch n d_sae"]:
        """The features after this part."""
        index = torch.tensor(self.part.features, device=features.device)
        old = features.index_select(-1, index)
        if self.positions is not None:
            count = self.positions.shape[1]
            if self.whole and at.start == self.positions[0, 0] and len(at) not in (1, count):
                raise InputError(
                    f"The other run has {count} tokens that are read and this one {len(at)}; say which belong together "
                    "with positions and source_positions."
                )
            if len(self.positions) not in (1, len(features)):
                raise InputError(
                    f"There are positions for {len(self.positions)} sequences, and the run has {len(features)}."
                )
            here = self.positions[:, :, None] == torch.tensor(list(at))
        else:
            first, last = self.part.when.span
            here = torch.tensor([first <= one and (last is None or one < last) for one in at])[None, None]
        where = here.any(1).to(features.device)[..., None]
        if self.taken is not None:
            if len(self.taken) not in (1, len(features)):
                raise InputError(f"The other run has {len(self.taken)} sequences and this one {len(features)}.")
            source = here.int().argmax(1).expand(max(len(here), len(self.taken)), -1).to(features.device)
            taken = self.taken.to(features).expand(len(source), -1, -1)
            new = taken.gather(1, source[..., None].expand(-1, -1, len(index))).expand_as(old)
        else:
            values = torch.tensor(self.part.values, dtype=features.dtype, device=features.device)
            new = old + values if self.part.kind == "add" else values.expand_as(old)
        return features.index_copy(-1, index, torch.where(where, new, old))


class _Edited(Splice):
    """The splice of an edit in one run."""

    def __init__(
        self, sae: SparseAutoencoder, placed: Sequence[_Placed], keep_error: bool, site: VectorSite | None
    ) -> None:
        super().__init__(sae, keep_error=keep_error, site=site)
        self.placed = placed

    def changed(self, features: Tensor, at: range) -> Tensor:
        found = features if features.dim() == 3 else features[:, None]
        for part in self.placed:
            found = part.changed(found, at)
        return found if features.dim() == 3 else found[:, 0]


def _bounded(placed: Sequence[_Placed]) -> list[int] | None:
    """The steps at which anything is edited, or None where that goes on without end."""
    steps: set[int] = set()
    for one in placed:
        if one.positions is None:
            return None
        steps |= set(one.positions.flatten().tolist())
    return sorted(steps) or None


def _check_read(positions: Int[Tensor, "rows n"], site: VectorSite) -> None:
    wrong = positions[positions % site.every != site.every - 1]
    if len(wrong):
        first = site.every - 1
        raise InputError(
            f"Position {int(wrong[0])} is not read: the autoencoder reads one token in {site.every} "
            f"({first}, {first + site.every}, ...)."
        )


def _part(
    sae: SparseAutoencoder, kind: str, values: Mapping[int, float], positions: Positions, maxima: PerFeature | None
) -> _Part:
    features = _numbers(sae, values)
    numbers = []
    for feature in features:
        value = float(values[feature])
        if maxima is not None:
            top = float(maxima[feature])
            if not top > 0:
                raise InputError(
                    f"Feature {feature} has a maximum of {top:g}: it never fired, so give it plain values."
                )
            value *= top
        if not torch.isfinite(torch.tensor(value)):
            raise InputError(f"Feature {feature} cannot be {value}.")
        numbers.append(value)
    return _Part(kind, features, tuple(numbers), When.of(positions))


def _numbers(sae: SparseAutoencoder, features: Iterable[int]) -> tuple[int, ...]:
    """Feature numbers, checked. Raises InputError for none, for one twice, and for one that is not there."""
    listed = [features] if isinstance(features, int) else list(features)
    last = sae.cfg.d_sae - 1
    for feature in listed:
        if isinstance(feature, bool) or not hasattr(feature, "__index__") or not 0 <= int(feature) <= last:
            raise InputError(f"There is no feature {feature!r}; this autoencoder has 0 to {last}.")
    if not listed or len(set(listed)) < len(listed):
        raise InputError(f"Features are named once each, at least one; got {listed}.")
    return tuple(int(feature) for feature in listed)
