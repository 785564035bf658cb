"""Effects laid out as layers by heads (or neurons, or whatever a layer has several of)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from workbench.studies.report.numbers import probability, signed, span
from workbench.studies.report.ranked import records
from workbench.studies.statistics.interactions import JOIN

MOST_COLUMNS = 64  # beyond, a layer is an ordered profile, not a gallery
WIDEST = 256

_LABEL = re.compile(r"L(\d+)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Grid:
    """What a heat map shows.

    Attributes:
        values: ``[row, column]``, NaN where nothing was measured.
        marked: which of them are significant.
        texts: of each cell, for a reader who points at it: label, effect, interval, q and n, plain text.
        layers: what rows are called, the first at the bottom.
        columns: what columns are called; numbers where each layer is sorted, best first.
        by_rank: whether it is.
        dose: of the effects, where there are several: the largest.
    """

    values: Float[np.ndarray, "layers columns"]
    marked: Bool[np.ndarray, "layers columns"]
    texts: list[list[str]]
    layers: list[str]
    columns: list[str]
    by_rank: bool
    dose: float | None


def grid_of(effects: pd.DataFrame) -> Grid | None:
    """Lay out the effects of one model, family and metric; None where no edit is of one place in a layer.

    Args:
        effects: rows of `effects_table`; controls and sets of several targets are passed over.
    """
    rows, dose = _of_largest_dose(effects[effects["control_of"].isna()])
    placed: dict[int, dict[str, dict[str, Any]]] = {}
    for row in records(rows):
        match = _LABEL.fullmatch(str(row["label"]))
        if match and JOIN not in str(row["label"]):
            placed.setdefault(int(match[1]), {}).setdefault(match[2].lstrip(".") or "layer", row)
    if not placed:
        return None
    layers = list(range(min(placed), max(placed) + 1))
    names = sorted({name for cells in placed.values() for name in cells}, key=_natural)
    by_rank = len(names) > MOST_COLUMNS
    if by_rank:
        names = [str(place) for place in range(min(WIDEST, max(map(len, placed.values()))))]
        placed = {layer: dict(zip(names, _best_first(list(cells.values())))) for layer, cells in placed.items()}  # noqa: B905
    values = np.full((len(layers), len(names)), np.nan)
    marked = np.zeros(values.shape, dtype=bool)
    texts = [["no value"] * len(names) for _ in layers]
    columns = {name: place for place, name in enumerate(names)}
    for place, layer in enumerate(layers):
        for name, row in placed.get(layer, {}).items():
            column = columns[name]
            values[place, column] = row["effect"]
            marked[place, column] = row["significant"]
            texts[place][column] = describe(row)
    return Grid(values, marked, texts, [str(layer) for layer in layers], names, by_rank, dose)


def describe(row: Mapping[str, Any]) -> str:
    """One effect in a line, with what is needed to judge it."""
    numbers = {key: float(row[key]) for key in ("effect", "low", "high", "q")}
    parts = [f"{row['label']}: {signed(numbers['effect'])}"]
    if np.isfinite(numbers["low"]):
        parts.append(span(numbers["low"], numbers["high"]))
    if np.isfinite(numbers["q"]):
        parts.append(f"q {probability(numbers['q'])}")
    return ", ".join([*parts, f"n {row['n']}"])


def _of_largest_dose(rows: pd.DataFrame) -> tuple[pd.DataFrame, float | None]:
    doses = rows["dose"].dropna()
    if doses.nunique() < 2:
        return rows, None
    largest = float(max(doses, key=abs))
    return rows[rows["dose"] == largest], largest


def _best_first(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(cells, key=lambda row: -abs(np.nan_to_num(float(row["effect"]))))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """H2 before H10: digits by their number."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
