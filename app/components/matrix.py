"""A matrix of any size on a canvas: hovered, walked through by keys, clicked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from workbench.app.components.axes import Axis
from workbench.app.components.kept import kept
from workbench.app.components.mounting import declare, mount
from workbench.errors import InputError
from workbench.figures.levels import MASKED_LEVEL, MISSING_LEVEL, TOP, as_levels, palette
from workbench.figures.tokens import visible_token

EXACT = 16_384
"""Up to so many cells are sent with their values beside the bytes; of a larger picture, hovering reads the bytes."""

WITH_TEXT = 64
"""Pixels a column is wide at least where cells hold text; the picture scrolls sideways then."""


def matrix(
    values: Float[np.ndarray, "rows columns"],
    *,
    rows: Axis,
    columns: Axis,
    key: str,
    fingerprint: str,
    signed: bool | None = None,
    masked: Bool[np.ndarray, "rows columns"] | None = None,
    limit: float | None = None,
    texts: Sequence[Sequence[str]] | None = None,
    upward: bool = False,
    square: bool = False,
    cell: int = 24,
    selected: tuple[int, int | None] | None = None,
    name: str = "value",
    verb: str = "·",
    notes: Sequence[str] = (),
    masked_note: str = "Hatched: no cell.",
    resting: str = "Click a cell, or go there with the arrow keys and press Enter.",
    keep: str | None = None,
    on_choose: Callable[[tuple[int, ...]], None] | None = None,
) -> tuple[int, int] | None:
    """Draw the matrix; the cell (row, column) clicked in this run, or None.

    Signed values run from blue through the page's own colour to vermillion, unsigned ones are Viridis from the page
    up. Masked cells are hatched; cells without a number are grey and counted. The values that hovering reads are
    those of the bytes (a 252nd of the scale apart) unless the picture is small: read the exact one of a click from
    where the values came from.

    Args:
        values: row by row.
        rows, columns: what they are called.
        key: of the component.
        fingerprint: of what is shown (model, prompt, layer, ...); clicks on an older picture are ignored.
        signed: None looks at the values.
        masked: True where there is no cell.
        limit: the value at the end of the colour scale, by default the values' own.
        texts: written into the cells, row by row; tokens are made visible.
        upward: the first row is at the bottom.
        square: cells as high as they are wide; otherwise a row is `cell` pixels high.
        selected: the cell that is marked, or with no column the row; with `keep`, by default the one in the link.
        name: what a value is, for the colour bar.
        verb: stands between a row's name and a column's in the read-out.
        notes: sentences under the colour bar.
        masked_note: what hatching means, said there, too.
        resting: what is read out while nothing is selected.
        keep: name of the selected cell in the link (read it with `kept(keep, values.shape)`).
        on_choose: called with a clicked cell before the page is drawn again; it may set what controls show.

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
    if texts is not None and [len(row) for row in texts] != [shape[1]] * shape[0]:
        raise InputError(f"The texts are not {shape[0]} rows of {shape[1]}.")
    if selected is None and keep is not None:
        found = kept(keep, shape)
        selected = None if found is None else (found[0], found[1])
    levels = as_levels(values, signed=signed, masked=masked, limit=limit)
    told = list(notes)
    if levels.clipped:
        told.append(f"{levels.clipped:.1%} of the values lie beyond the ends of the scale.")
    if masked is not None and masked.any():
        told.append(masked_note)
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
        "exact": exact,
        "texts": None if texts is None else [[visible_token(text) for text in row] for row in texts],
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
        "fingerprint": fingerprint,
        "alternative": (
            f"{name}: {shape[0]} rows ({rows.title}) by {shape[1]} columns ({columns.title}). "
            "The arrow keys move, Enter chooses; the text below reads the cell out."
        ),
    }
    clicked = mount(
        _component(),
        _framed(header, values if exact else None, levels.levels.tobytes(), levels.signed),
        key=key,
        fingerprint=fingerprint,
        shape=shape,
        keep=keep,
        on_choose=on_choose,
    )
    return None if clicked is None else (clicked[0], clicked[1])


def _framed(
    header: dict[str, Any], values: Float[np.ndarray, "rows columns"] | None, levels: bytes, signed: bool
) -> bytes:
    """Length of the header, header, two palettes, levels, values: what ``static/matrix.js`` takes apart."""
    text = json.dumps(header, allow_nan=False).encode()
    palettes = palette(signed, dark=False).tobytes() + palette(signed, dark=True).tobytes()
    exact = b"" if values is None else values.astype("<f4").tobytes()
    return len(text).to_bytes(4, "little") + text + palettes + levels + exact


@lru_cache(maxsize=1)
def _component() -> Any:
    return declare("matrix", ("matrix",))
