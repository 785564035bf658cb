"""Heat maps of signed numbers with places that have none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float

from workbench.figures.colours import MISSING
from workbench.figures.maps import colour_axis, plain_layout
from workbench.figures.tokens import escape_label
from workbench.studies.report.grids import Grid

MOST_UNCLIPPED = 1024  # cells


def effect_map(grid: Grid, name: str) -> go.Figure:
    """Layers by columns, the first layer at the bottom; significant cells have a dot, cells without a value a cross.

    A cross, because nothing measured is not the same as nothing found, and an effect of 0 has the page's own colour.
    """
    across = "best first in each layer" if grid.by_rank else ""
    figure = signed_map(grid.values, grid.marked, grid.texts, name)
    figure.update_layout(
        xaxis=_axis(grid.columns, across, most=16, numbered=grid.by_rank), yaxis=_axis(grid.layers, "layer", most=12)
    )
    return figure


def signed_map(
    values: Float[np.ndarray, "rows columns"],
    marked: Bool[np.ndarray, "rows columns"],
    texts: Sequence[Sequence[str]],
    name: str,
) -> go.Figure:
    """A heat map without axes' names: blue below 0, vermillion above."""
    shown = values.astype(np.float32)
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            text=[[escape_label(text) for text in row] for row in texts],
            coloraxis="coloraxis",
            hoverongaps=False,
            hovertemplate="%{text}<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    for chosen, marker in (
        (np.isnan(shown), {"symbol": "x-thin", "size": 6, "line": {"color": MISSING, "width": 1.5}}),
        (marked, {"size": 6, "color": "white", "line": {"color": "black", "width": 1}}),
    ):
        rows, columns = np.nonzero(chosen)
        if len(rows):
            figure.add_trace(
                go.Scatter(x=columns, y=rows, mode="markers", marker=marker, hoverinfo="skip", showlegend=False)
            )
    figure.update_layout(coloraxis=_colours(shown, name), **plain_layout())
    return figure


def _colours(values: Float[np.ndarray, "rows columns"], name: str) -> dict[str, Any]:
    """The colours of signed values; of few cells none is clipped, for the largest is what people came for."""
    colours = colour_axis(values, True, escape_label(name))
    if values.size <= MOST_UNCLIPPED and np.isfinite(values).any():
        limit = float(np.nanmax(np.abs(values))) or 1.0
        colours["colorbar"]["title"]["text"] = escape_label(name)
        colours.update(cmin=-limit, cmax=limit)
    return colours


def _axis(names: Sequence[str], title: str, most: int, numbered: bool = False) -> dict[str, Any]:
    step = -(-len(names) // most)
    chosen = list(range(0, len(names), step))
    return {
        "title": title,
        "range": [-0.5, len(names) - 0.5],
        "tickmode": "array",
        "tickvals": chosen,
        "ticktext": [str(place) if numbered else escape_label(names[place]) for place in chosen],
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
        "ticks": "",
    }


def pair_map(
    names: Sequence[str],
    values: Float[np.ndarray, "names names"],
    marked: Bool[np.ndarray, "names names"],
    texts: Sequence[Sequence[str]],
    name: str,
) -> go.Figure:
    """Interactions of pairs: a row and a column a part, each pair once, above the diagonal."""
    rows, columns = slice(None, -1), slice(1, None)
    below = np.tril(np.ones(values.shape, dtype=bool))[rows, columns]
    inner = [list(row[columns]) for row in texts[rows]]
    # Half of the square holds no pairs: it is left blank rather than crossed out as not measured.
    figure = signed_map(np.where(below, 0.0, values[rows, columns]), marked[rows, columns] & ~below, inner, name)
    figure.data[0].update(z=np.where(below, np.nan, values[rows, columns]).astype(np.float32))
    figure.update_layout(
        xaxis=_axis(names[columns], "", most=16), yaxis={**_axis(names[rows], "", most=16), "autorange": "reversed"}
    )
    return figure
