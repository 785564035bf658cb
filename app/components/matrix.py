"""A matrix of any size on a canvas: hovered, walked through by keys, clicked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from workbench.app.components.kept import kept
from workbench.app.components.mounting import declare, framed, mount
from workbench.figures.axes import Axis
from workbench.figures.canvas import CanvasMatrix, canvas_matrix
from workbench.figures.levels import palette


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
    if selected is None and keep is not None:
        found = kept(keep, values.shape)
        selected = None if found is None else (found[0], found[1])
    drawn = canvas_matrix(
        values,
        rows=rows,
        columns=columns,
        signed=signed,
        masked=masked,
        limit=limit,
        texts=texts,
        upward=upward,
        square=square,
        cell=cell,
        selected=selected,
        name=name,
        verb=verb,
        notes=notes,
        masked_note=masked_note,
        resting=resting,
    )
    clicked = mount(
        _component(),
        _framed(drawn, fingerprint),
        key=key,
        fingerprint=fingerprint,
        shape=(len(rows), len(columns)),
        keep=keep,
        on_choose=on_choose,
    )
    return None if clicked is None else (clicked[0], clicked[1])


def _framed(drawn: CanvasMatrix, fingerprint: str) -> bytes:
    """Header, two palettes, levels, values: what ``static/matrix.js`` takes apart."""
    signed = drawn.levels.signed
    return framed(
        {**drawn.header, "fingerprint": fingerprint},
        palette(signed, dark=False).tobytes(),
        palette(signed, dark=True).tobytes(),
        drawn.levels.levels.tobytes(),
        b"" if drawn.values is None else drawn.values.astype("<f4").tobytes(),
    )


@lru_cache(maxsize=1)
def _component() -> Any:
    return declare("matrix", ("matrix",))
