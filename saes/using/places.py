"""Autoencoders at their places in one run: their features and errors, gradients with respect to them, replacements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.model import HookedModel
from workbench.probes.patching.comparison import Comparison, gradients
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.site import ChangeAt, VectorSite, read_vectors

ERROR = -1
"""The number that stands for what an autoencoder does not explain, among the numbers of its features."""

Hooks = list[tuple[str, HookFunction]]


@dataclass(frozen=True, eq=False)
class Place:
    """One autoencoder in a model: where it reads, and where what it decodes is put (elsewhere for a transcoder)."""

    sae: SparseAutoencoder
    reads: VectorSite
    writes: VectorSite

    def __str__(self) -> str:
        return str(self.writes)

    def decoded(self, at: Readings) -> Float[Tensor, "batch positions d_out"]:
        """The vectors that features and error add up to."""
        return self.sae.decode(at.features, at.inputs) + at.error

    def to_features(self, at: Readings, gradient: Tensor) -> Float[Tensor, "batch positions d_sae"]:
        """A gradient with respect to the vectors as one with respect to the features, which decode linearly."""
        with torch.enable_grad():
            leaf = at.features.detach().requires_grad_(True)
            decoded = self.sae.decode(leaf, at.inputs)
        return torch.autograd.grad(decoded, leaf, gradient.to(decoded.dtype))[0]


@dataclass(frozen=True, eq=False)
class Readings:
    """What one autoencoder makes of a run.

    Attributes:
        inputs: what it read, ``[batch, positions, d_in]``.
        features: its activations, ``[batch, positions, d_sae]``.
        error: what its reconstruction lacks, ``[batch, positions, d_out]``.
    """

    inputs: Tensor
    features: Tensor
    error: Tensor


@dataclass(frozen=True, eq=False)
class Kept:
    """What of an autoencoder's reading stays in a run; the rest is replaced.

    Attributes:
        features: True where they stay, ``[d_sae]`` or, position by position, ``[positions, d_sae]``.
        error: True where it stays, ``[]`` or ``[positions]``.
    """

    features: Bool[Tensor, "*positions d_sae"]
    error: Bool[Tensor, "*positions"]


def places_of(model: HookedModel, saes: SparseAutoencoder | Sequence[SparseAutoencoder]) -> list[Place]:
    """Autoencoders in the order of the forward pass. Raises InputError for none, and for two that write one place."""
    listed = [saes] if isinstance(saes, SparseAutoencoder) else list(saes)
    found = [Place(sae, sae.site(model), sae.site_out(model)) for sae in listed]
    order = {name: number for number, name in enumerate(model.points)}
    found.sort(key=lambda place: (order[place.writes.hook], place.writes.head or 0))
    if not found:
        raise InputError("A circuit is one of features; give an autoencoder or several.")
    for before, after in pairwise(found):
        heads = before.writes.head, after.writes.head
        if before.writes.hook == after.writes.hook and (None in heads or heads[0] == heads[1]):
            raise InputError(f"Two autoencoders are at {before}; a circuit takes one a place.")
    return found


@torch.no_grad()
def read_places(model: HookedModel, places: Sequence[Place], tokens: Tensor, mask: Tensor | None) -> list[Readings]:
    """What every autoencoder makes of a run."""
    for place in places:
        place.writes.check_long_enough(tokens.shape[1])
    inputs, outputs = [place.reads for place in places], [place.writes for place in places]
    vectors, _ = read_vectors(model, tokens, [*inputs, *outputs], mask)
    found = []
    for place, x, y in zip(places, vectors[: len(places)], vectors[len(places) :], strict=True):
        features = place.sae.encode(x)
        found.append(Readings(x, features, y.to(features.dtype) - place.sae.decode(features, x)))
    return found


class Gradients:
    """One run with a graph: of the metric, and of every autoencoder's reading, with respect to the places' vectors.

    Args:
        cut: what is read at one place says nothing about what was read before it, so that effects go through nothing
            that is read: neither another place nor, of a state, the same place at a later step.
        vectors: what stands at a place in this run instead of what it would be, by the place's number.
    """

    def __init__(
        self,
        pair: Comparison,
        places: Sequence[Place],
        *,
        cut: bool = False,
        vectors: Mapping[int, Tensor] | None = None,
    ) -> None:
        self.places, self.model = places, pair.model
        self._cut, self._vectors = cut, vectors or {}
        self._moves: list[list[Tensor]] = [[] for _ in places]
        self._inputs: list[list[Tensor]] = [[] for _ in places]
        self._outputs: list[list[Tensor]] = [[] for _ in places]
        hooks: Hooks = []
        for number, place in enumerate(places):
            if place.sae.cfg.transcodes:
                hooks.append(place.reads.reader(self.model, _keeper(self._inputs[number])))
            hooks.append(place.writes.editor_at(self.model, self._mover(number)))
        # The moves are where the graph begins, whether or not parameters want gradients.
        self.value = pair.value_with_graph(hooks)

    def of(self, value: Tensor, which: Sequence[int] | None = None) -> list[Float[Tensor, "batch positions d_out"]]:
        """The gradient of a number with respect to the vectors at places, all by default; zeros where none leads."""
        numbers = range(len(self.places)) if which is None else which
        moves = [move for number in numbers for move in self._moves[number]]
        every = iter(gradients(value, moves, keep_graph=True))
        found = []
        for number in numbers:
            parts = [next(every) for _ in self._moves[number]]
            found.append(_stacked(self.model, self.places[number].writes, parts))
        return found

    def readings(self, number: int) -> Readings:
        """A place's features and error, as functions of what happened before it."""
        place = self.places[number]
        with torch.enable_grad():
            y = _stacked(self.model, place.writes, self._outputs[number])
            x = _stacked(self.model, place.reads, self._inputs[number]) if place.sae.cfg.transcodes else y
            features = place.sae.encode(x)
            return Readings(x, features, y.to(features.dtype) - place.sae.decode(features, x))

    def _mover(self, number: int) -> ChangeAt:
        place = self.places[number]

        def move(vectors: Tensor, at: range) -> Tensor:
            self._outputs[number].append(vectors)
            given = self._vectors.get(number)
            if given is not None:
                rows = _rows(place.writes, at)
                vectors = (given[:, rows] if vectors.dim() == 3 else given[:, rows.start]).to(vectors.dtype)
            by = torch.zeros_like(vectors, requires_grad=True)
            self._moves[number].append(by)
            return (vectors.detach() if self._cut else vectors) + by

        return move


def replacing(
    model: HookedModel,
    places: Sequence[Place],
    kept: Sequence[Kept | None],
    instead: Sequence[Readings],
) -> Hooks:
    """Hooks that put `instead` in the place of all features and errors but those that are kept.

    Args:
        kept: by place; None where everything stays.
        instead: replacements, of one position or of all that are read.
    """
    hooks: Hooks = []
    for place, keep, other in zip(places, kept, instead, strict=True):
        if keep is None:
            continue
        inputs: list[Tensor] = []

        def note(vectors: Tensor, hook: HookPoint, inputs: list[Tensor] = inputs) -> None:
            inputs[:] = [vectors]

        def change(
            vectors: Tensor,
            at: range,
            place: Place = place,
            keep: Kept = keep,
            other: Readings = other,
            inputs: list[Tensor] = inputs,
        ) -> Tensor:
            x = inputs[0] if place.sae.cfg.transcodes else vectors
            features = place.sae.encode(x)
            error = vectors.to(features.dtype) - place.sae.decode(features, x)
            rows = _rows(place.writes, at)

            def here(tensor: Tensor, axis: int) -> Tensor:
                """The part that belongs to these positions, of a state without its axis of positions."""
                if tensor.shape[axis] > 1:
                    tensor = tensor.narrow(axis, rows.start, len(rows))
                return tensor if vectors.dim() == 3 else tensor.select(axis, 0)

            stay = keep.features if keep.features.dim() == 1 else here(keep.features, 0)
            stay_error = keep.error if keep.error.dim() == 0 else here(keep.error, 0)
            new = torch.where(stay, features, here(other.features, 1).to(features))
            left = torch.where(stay_error[..., None], error, here(other.error, 1).to(error))
            return (place.sae.decode(new, x) + left).to(vectors.dtype)

        if place.sae.cfg.transcodes:
            hooks.append(place.reads.reader(model, note))
        hooks.append(place.writes.editor_at(model, change))
    return hooks


def _rows(site: VectorSite, at: range) -> range:
    """Which of a site's positions some positions of the text are."""
    first = (at.start - (site.every - 1)) // site.every
    return range(first, first + len(at))


def _keeper(kept: list[Tensor]) -> Callable[[Tensor, HookPoint], None]:
    def keep(vectors: Tensor, hook: HookPoint) -> None:
        kept.append(vectors)

    return keep


def _stacked(model: HookedModel, site: VectorSite, seen: Sequence[Tensor]) -> Float[Tensor, "batch positions d_in"]:
    return torch.stack(list(seen), 1) if model.points[site.hook].per_step else seen[0]
