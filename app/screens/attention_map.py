"""A head's matrix on the Attention page: whole where it is small, else pooled, with an exact window into it."""

from __future__ import annotations

import numpy as np
import streamlit as st
from jaxtyping import Float

from workbench.app.components import causal_matrix, keep, kept, matrix
from workbench.app.screens.attention_borrowing import borrowed
from workbench.app.screens.attention_chosen import SAID, UNITS, Panel
from workbench.app.screens.attention_token import choose_token
from workbench.app.serving import Job
from workbench.app.shell import computed, foot
from workbench.app.views.attention import HeadView, head_code, head_window
from workbench.app.views.attention.head import WINDOW


def draw_map(panel: Panel, found: HeadView, token: int) -> tuple[int, int] | None:
    """The matrix, pooled where it is long, and the exact window into it; the cell that is chosen."""
    time = len(found.tokens)
    at = kept(f"cell{panel.suffix}", (time, time))
    cell = None if at is None or at[1] > at[0] else (at[0], at[1])
    if found.factor == 1:
        _exact(panel, found, found.pixels, (0, 0), cell or (token, None))
    else:
        _window(panel, found, _pooled(panel, found, cell or (token, token)), cell or (token, None))
    scope = "A times the values" if panel.choice.scope == "core" else "the matrix times the inputs, plus its constant"
    st.caption(
        f"Reconstruction error {found.error:.1e}: {scope}, against what the layer itself computed (largest difference "
        "over largest value)."
    )
    foot(
        f"attention-{panel.letter}-{panel.choice.name}",
        code=head_code(panel.source, panel.asked.prompt, panel.choice),
        data={"values": found.pixels, "ids": np.asarray(found.ids), "profile": found.profile},
        method=f"{UNITS[panel.choice.measure]}\nReconstruction error: max |A v + constant - recorded| / max |recorded| "
        "over a sample of heads and rows.",
    )
    return cell


def _exact(
    panel: Panel,
    found: HeadView,
    values: Float[np.ndarray, "rows columns"],
    corner: tuple[int, int],
    selected: tuple[int, int | None] | None,
) -> None:
    """Exact entries from a corner on; a click chooses a cell, and its row as the token."""
    row, column = corner
    height, width = values.shape

    def chose(at: tuple[int, ...]) -> None:
        there = (row + at[0], column + at[1])
        if there[1] <= there[0]:
            choose_token(panel, found, there[0], stays=True)
            keep(f"cell{panel.suffix}", there)

    inside = None
    if selected is not None and 0 <= selected[0] - row < height:
        inside = (selected[0] - row, None if selected[1] is None else selected[1] - column)
        if inside[1] is not None and not 0 <= inside[1] < width:
            inside = None
    drawn = causal_matrix(
        values,
        found.tokens,
        name=SAID[panel.choice.measure],
        signed=found.signed,
        corner=corner,
        selected=inside,
        notes=panel.notes,
        resting="Click a cell to see what it does; the arrow keys move, Enter chooses.",
    )
    matrix(drawn, key=f"matrix{panel.suffix}", fingerprint=f"{panel.fingerprint} {corner}", on_choose=chose)


def _pooled(panel: Panel, found: HeadView, cell: tuple[int, int]) -> tuple[int, int]:
    """The overview of a long text; the corner of the window that is chosen, or else lies around a cell."""
    shape, factor, time = found.pixels.shape, found.factor, len(found.tokens)
    key = f"window{panel.suffix}"
    at = kept(key, shape)
    pixel = (cell[0] // factor, cell[1] // factor) if at is None else (at[0], at[1])
    first, second = (int(min(max(0, (place + 0.5) * factor - WINDOW / 2), max(0, time - WINDOW))) for place in pixel)
    drawn = causal_matrix(
        found.pixels,
        found.tokens,
        name=SAID[panel.choice.measure],
        signed=found.signed,
        factor=factor,
        selected=pixel,
        notes=panel.notes,
        resting="Click a pixel to see the entries around it exactly.",
    )
    matrix(drawn, key=f"overview{panel.suffix}", fingerprint=panel.fingerprint, keep=key)
    return first, second


def _window(panel: Panel, found: HeadView, corner: tuple[int, int], cell: tuple[int, int | None]) -> None:
    def work(job: Job) -> Float[np.ndarray, "rows columns"]:
        with borrowed(panel.source, panel.asked, panel.choice) as (model, reading):
            return head_window(model, reading, panel.choice, *corner)

    values = computed("reading the window", panel.key("window", corner), work)
    height, width = values.shape
    st.text(f"Exact: tokens {corner[0]} to {corner[0] + height - 1} read from {corner[1]} to {corner[1] + width - 1}.")
    _exact(panel, found, values, corner, cell)
