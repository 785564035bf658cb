"""The features of a text that somebody typed: which fire at which token, how strongly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from workbench.app.views.features.stores import OpenStore
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.saes.features.pieces import Pieces
from workbench.saes.using import read_features

LONGEST = 4096
"""Tokens of a text that is tried."""


@dataclass(frozen=True)
class TextFeatures:
    """What fires in a text; what is zero is left out.

    Attributes:
        tokens, ids: of the text; bytes that are no character by themselves are spelled out, as ``<0xE2>``.
        read: places of the tokens that the autoencoder reads.
        place, feature, value: what fires, by place.
        whole: tokens of the text before it was cut to `LONGEST`.
    """

    tokens: list[str]
    ids: list[int]
    read: Int[np.ndarray, " read"]
    place: Int[np.ndarray, " active"]
    feature: Int[np.ndarray, " active"]
    value: Float[np.ndarray, " active"]
    whole: int

    def of(self, feature: int) -> Float[np.ndarray, " time"]:
        """A feature's activation at every token; NaN where the autoencoder does not read."""
        found = np.full(len(self.tokens), np.nan)
        found[self.read] = 0.0
        here = self.feature == feature
        found[self.place[here]] = self.value[here]
        return found

    def at(self, place: int, largest: Float[np.ndarray, " features"], count: int = 20) -> list[tuple[int, float]]:
        """The features that fire at a token, with their activations.

        Args:
            largest: the activation that each is compared with: those nearest to it come first, and last those whose
                largest is 0.
        """
        here = np.flatnonzero(self.place == place)
        order = here[np.argsort(-self._shares(largest)[here], kind="stable")][:count]
        return [(int(self.feature[one]), float(self.value[one])) for one in order]

    def strongest(self, largest: Float[np.ndarray, " features"], count: int = 20) -> list[tuple[int, float, int]]:
        """The features of the text in the order of `at`, each with its largest activation there and the place."""
        order = np.lexsort((-self.value, self.feature))
        first = np.ones(len(order), dtype=bool)
        first[1:] = np.diff(self.feature[order]) != 0
        best = order[first]
        best = best[np.argsort(-self._shares(largest)[best], kind="stable")][:count]
        return [(int(self.feature[one]), float(self.value[one]), int(self.place[one])) for one in best]

    def _shares(self, largest: Float[np.ndarray, " features"]) -> Float[np.ndarray, " active"]:
        most = largest[self.feature]
        shares: Float[np.ndarray, " active"] = np.divide(self.value, most, out=np.zeros(len(most)), where=most > 0)
        return shares


def text_features(model: HookedModel, opened: OpenStore, text: str) -> TextFeatures:
    """Read a text through the model and the autoencoder of a store.

    Raises:
        InputError: the store is of other weights, or the text is empty or too short to be read.
    """
    check_same_model(model, opened)
    ids = model.to_tokens(text)
    if not ids.numel():
        raise InputError("The text is empty: there is no token to read.")
    kept = ids[:, :LONGEST]
    sae = opened.store.sae.to(model.cfg.device)
    found = read_features(model, sae, kept)[0].float().cpu().numpy()
    read = np.array(sae.site(model).positions(kept.shape[1]), dtype=np.int64)
    row, feature = np.nonzero(found)
    pieces = Pieces(model)
    return TextFeatures(
        [pieces.token(int(one)) for one in kept[0]],
        [int(one) for one in kept[0]],
        read,
        read[row],
        feature.astype(np.int64),
        found[row, feature],
        int(ids.shape[1]),
    )


def check_same_model(model: HookedModel, opened: OpenStore) -> None:
    """Refuse a model whose weights are not those that the store was made with. Raises InputError."""
    if not opened.store.is_of(model):
        raise InputError(
            f"This store was made with other weights of {opened.info.model} than those that are loaded; build its "
            "features again, or choose the model that it was made with."
        )
