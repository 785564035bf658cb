"""How every head of every layer reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from workbench.app.views.attention.choosing import HeadChoice
from workbench.model import HookedModel

MEASURES = {
    "entropy": "entropy (nats)",
    "mean_distance_by_mass": "mean distance (tokens)",
    "mass": "mass (sum of sizes)",
}
"""What is computed, and what it is called."""

GALLERY = 64
"""More heads a layer than this (the channels of Mamba) are drawn by rank, not by number."""

WIDEST = 512
"""Columns of a map by rank."""


@dataclass(frozen=True)
class HeadStatistics:
    """Averages over the tokens of a text.

    Attributes:
        places: names of the mixers, ``"3"`` or ``"3.mixer1"``.
        averages: by measure, one array ``[heads]`` a mixer.
        table: one row a head.
    """

    places: tuple[str, ...]
    averages: dict[str, list[Float[np.ndarray, " _"]]]
    table: pd.DataFrame

    def map(self, measure: str) -> tuple[Float[np.ndarray, "places columns"], Int[np.ndarray, "places columns"]]:
        """The map of a measure and the head of each of its cells (-1 for none).

        Columns are heads by number; where a layer has more than 64 they are ranks, highest first, and 512 at most.
        """
        return by_rank(self.averages[measure])

    @property
    def ranked(self) -> bool:
        """Whether the columns of a map are ranks."""
        return max(len(row) for row in next(iter(self.averages.values()))) > GALLERY

    def cell(self, measure: str, choice: HeadChoice) -> tuple[int, int] | None:
        """Where a head is on the map of a measure; None where it is not drawn."""
        heads = self.map(measure)[1]
        place = self.places.index(choice.place)
        found = np.flatnonzero(heads[place] == choice.head)
        return (place, int(found[0])) if len(found) else None


def by_rank(
    rows: Sequence[Float[np.ndarray, " _heads"]],
) -> tuple[Float[np.ndarray, "places columns"], Int[np.ndarray, "places columns"]]:
    """Rows of different lengths as one map, sorted within rows where one is long; see `HeadStatistics.map`."""
    longest = max(len(row) for row in rows)
    width = min(longest, WIDEST)
    values, heads = np.full((len(rows), width), np.nan), np.full((len(rows), width), -1)
    for at, row in enumerate(rows):
        order = np.arange(len(row))
        if longest > GALLERY:
            order = np.argsort(-np.nan_to_num(row, nan=-np.inf), kind="stable")
        order = order[:width]
        values[at, : len(order)], heads[at, : len(order)] = row[order], order
    return values, heads


def head_statistics(model: HookedModel, prompt: str) -> HeadStatistics:
    """Entropy, mean distance and mass of every head, from one pass."""
    found = model.attention_statistics(prompt, list(MEASURES), per_token=False)
    averages = {name: [np.asarray(row.double().cpu()) for row in found.average(name)] for name in MEASURES}
    return HeadStatistics(tuple(mixer.place for mixer in found.mixers), averages, found.to_pandas())
