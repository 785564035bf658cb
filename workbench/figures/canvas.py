"""What ``workbench/report/static/matrix.js`` is told of a matrix that it draws on a canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from workbench.errors import InputError
from workbench.figures.axes import Axis
from workbench.figures.levels import MASKED_LEVEL, MISSING_LEVEL, TOP, Levels, as_levels
from workbench.figures.tokens import visible_token

EXACT = 16_384
"""Up to so many cells go with their values beside the bytes; of a larger picture, hovering reads the bytes."""

WITH_TEXT = 64
"""Pixels a column is wide at least where cells hold text; the picture scrolls sideways then."""


@dataclass(frozen=True)
class CanvasMatrix:
    """A matrix ready to be drawn.

    Attributes:
        header: everything but the numbers, as JSON has words for it.
        levels: the cells as bytes, with the ends of their scale.
        values: the cells exactly, or None where there are more than `EXACT`.
    """

    header: dict[str, Any]
    levels: Levels
    values: Float[np.ndarray, "rows columns"] | None


def canvas_matrix(
    values: Float[np.ndarray, "rows columns"],
    *,
    rows: Axis,
    columns: Axis,
    signed: bool | None = None,
    masked: Bool[np.ndarray, "rows columns"] | None = None,
    limit: float | None = None,
    texts: Sequence[Sequence[str]] | None = None,
    cells: Sequence[Sequence[str]] | None = None,
    upward: bool = False,
    square: bool = False,
    cell: int = 24,
    selected: tuple[int, int | None] | None = None,
    name: str = "value",
    verb: str = "·",
    notes: Sequence[str] = (),
    masked_as: str = "no cell",
    resting: str = "Click a cell, or go there with the arrow keys and press Enter.",
) -> CanvasMatrix:
    """Quantise a matrix and write down what stands around it.

    Signed values run from blue through the page's own colour to vermillion, unsigned ones are Viridis from the page
    up. Masked cells are hatched; cells without a number are grey and counted.

    Args:
        values: row by row.
        rows, columns: what they are called.
        signed: None looks at the values.
        masked: True where there is no cell.
        limit: the value at the end of the colour scale, by default the values' own.
        texts: written into the cells, row by row; tokens are made visible.
        cells: what cells are called in the read-out where row and column do not say it, row by row; "" where they do.
        upward: the first row is at the bottom.
        square: cells as high as they are wide; otherwise a row is `cell` pixels high.
        selected: the cell that is marked, or with no column the row.
        name: what a value is, for the colour bar.
        verb: stands between a row's name and a column's in the read-out.
        notes: sentences under the colour bar.
        masked_as: what a hatched cell is, said there and where one is pointed at.
        resting: what is read out while nothing is selected.

    Raises:
        InputError: names, texts or mask do not fit the values, or there are none.
    """
    shape = (int(values.shape[0]), int(values.shape[1]))
    if not values.size:
        raise InputError("A matrix without cells cannot be drawn.")
    if (len(rows), len(columns)) != shape or (masked is not None and masked.shape != shape):
        raise InputError(
            f"{len(rows)} rows and {len(columns)} columns are named, the values are {shape[0]} x {shape[1]}."
        )
    for what, words in (("texts", texts), ("names of cells", cells)):
        if words is not None and [len(row) for row in words] != [shape[1]] * shape[0]:
            raise InputError(f"The {what} are not {shape[0]} rows of {shape[1]}.")
    levels = as_levels(values, signed=signed, masked=masked, limit=limit)
    told = list(notes)
    if levels.clipped:
        told.append(f"{levels.clipped:.1%} of the values lie beyond the ends of the scale.")
    if masked is not None and masked.any():
        told.append(f"Hatched: {masked_as}.")
    if levels.missing:
        told.append(f"Grey: {levels.missing} not a number.")
    exact = values.size <= EXACT
    header = {
        "rows": shape[0],
        "columns": shape[1],
        "rowLabels": rows.labels,
        "columnLabels": columns.labels,
        "rowNames": rows.names,
        "columnNames": columns.names,
        "rowTitle": rows.title,
        "columnTitle": columns.title,
        "low": levels.low,
        "high": levels.high,
        "top": TOP,
        "missing": MISSING_LEVEL,
        "masked": MASKED_LEVEL,
        "maskedAs": masked_as,
        "exact": exact,
        "texts": None if texts is None else [[visible_token(text) for text in row] for row in texts],
        "cells": None if cells is None else [list(row) for row in cells],
        "least": WITH_TEXT if texts is not None else 0,
        "upright": texts is not None or max(map(len, columns.labels)) <= 4,
        "upward": upward,
        "square": square,
        "cell": cell,
        "selected": selected,
        "name": name,
        "verb": verb,
        "notes": told,
        "resting": resting,
        "alternative": (
            f"{name}: {shape[0]} rows ({rows.title}) by {shape[1]} columns ({columns.title}). "
            "The arrow keys move, Enter chooses; the text below reads the cell out."
        ),
    }
    return CanvasMatrix(header, levels, values if exact else None)


def causal_matrix(
    values: Float[np.ndarray, "rows columns"],
    tokens: Sequence[str],
    *,
    name: str,
    signed: bool,
    factor: int = 1,
    corner: tuple[int, int] = (0, 0),
    selected: tuple[int, int | None] | None = None,
    notes: Sequence[str] = (),
    resting: str = "Click a cell, or go there with the arrow keys and press Enter.",
) -> CanvasMatrix:
    """What tokens (rows) read of earlier ones (columns), the future hatched.

    Args:
        values: a matrix of the whole text, pooled (`pool_causal`), or a window into it.
        tokens: of the whole text.
        name: what a value is, for the colour bar.
        signed: whether entries may be negative.
        factor: tokens a row stands for.
        corner: the tokens of the first row and the first column, of a window.
        selected: the cell of `values` that is marked, or with no column the row.
        notes: sentences under the colour bar.
        resting: what is read out while nothing is selected.

    Raises:
        InputError: the tokens are fewer than the rows or columns need, or there are no values.
    """
    row, column = corner
    height, width = (size * factor for size in values.shape)
    pooled = f"Pixel = {factor} × {factor} tokens: the largest entry by size"
    return canvas_matrix(
        values,
        rows=Axis.of_tokens("reads", tokens[row : row + height], first=row, factor=factor),
        columns=Axis.of_tokens("is read", tokens[column : column + width], first=column, factor=factor),
        signed=signed,
        masked=np.arange(column, column + width, factor) > np.arange(row, row + height, factor)[:, None],
        square=True,
        selected=selected,
        name=name,
        verb="reads",
        notes=[*notes, *([] if factor == 1 else [f"{pooled}, with its sign." if signed else f"{pooled}."])],
        masked_as="a token that comes later",
        resting=resting,
    )
