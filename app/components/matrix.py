"""A matrix of any size on a canvas: hovered, walked through by keys, clicked."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from workbench.app.components.mounting import declare, framed, mount, palettes
from workbench.figures.canvas import CanvasMatrix


def matrix(
    drawn: CanvasMatrix,
    *,
    key: str,
    fingerprint: str,
    keep: str | None = None,
    on_choose: Callable[[tuple[int, ...]], None] | None = None,
) -> tuple[int, int] | None:
    """Draw a matrix; the cell (row, column) clicked in this run, or None.

    Args:
        drawn: the picture, from `canvas_matrix` or `causal_matrix`.
        key: of the component.
        fingerprint: of what is shown (model, prompt, layer, ...); clicks on an older picture are ignored.
        keep: name of the selected cell in the link (read it with `kept(keep, values.shape)`).
        on_choose: called with a clicked cell before the page is drawn again; it may set what controls show.
    """
    # Header, two palettes, levels, values: what ``static/matrix.js`` takes apart.
    data = framed(
        {**drawn.header, "fingerprint": fingerprint},
        *palettes(drawn.levels.signed),
        drawn.levels.levels.tobytes(),
        b"" if drawn.values is None else drawn.values.astype("<f4").tobytes(),
    )
    shape = drawn.levels.levels.shape
    clicked = mount(
        _component(),
        data,
        key=key,
        fingerprint=fingerprint,
        shape=shape,
        keep=keep,
        on_choose=on_choose,
    )
    return None if clicked is None else (clicked[0], clicked[1])


@lru_cache(maxsize=1)
def _component() -> Any:
    return declare("matrix", ("matrix",))
