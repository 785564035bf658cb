"""The layer x head map of a score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float

from workbench.figures.colours import is_signed
from workbench.figures.maps import colour_axis, plain_layout

MOST_UNSORTED = 64  # beyond this many heads a layer is an ordered profile, not a gallery
WIDEST = 512


def score_map(
    scores: Sequence[Float[np.ndarray, " _heads"]],
    *,
    marked: Sequence[Bool[np.ndarray, " _heads"]] | None = None,
    name: str = "score",
    unit: str = "head",
    layers: Sequence[str] | None = None,
    full_scale: float = 0.0,
) -> go.Figure:
    """Heat map of a score, one row a layer (or a mixer of one), the first at the bottom.

    Layers of more than 64 heads (the channels of Mamba) are sorted by score within the layer, best first, and cut at
    512: the picture then shows how many channels do it, and hovering names the channel.

    Args:
        scores: one array ``[heads]`` a layer; layers may differ in their number of heads, NaN for no score.
        marked: heads to mark with a dot, for example those above the null distribution.
        name: what the score is, for the colour bar.
        unit: what a head is called on the axis ("head" or "channel").
        layers: what each row is called, for example ``"3.mixer1"``; by default they are numbered.
        full_scale: the colour scale reaches at least this far, so that a map of nothing looks like one.
    """
    rows_called = [str(row) for row in range(len(scores))] if layers is None else list(layers)
    widest = max((len(layer) for layer in scores), default=0)
    by_rank = widest > MOST_UNSORTED
    columns = min(widest, WIDEST)
    values = np.full((len(scores), columns), np.nan, dtype=np.float32)
    names = np.zeros((len(scores), columns), dtype=np.int32)
    dots = np.zeros((len(scores), columns), dtype=bool)
    for row, layer in enumerate(scores):
        order = np.argsort(-np.nan_to_num(layer, nan=-np.inf), kind="stable") if by_rank else np.arange(len(layer))
        order = order[:columns]
        values[row, : len(order)] = layer[order]
        names[row, : len(order)] = order
        if marked is not None:
            dots[row, : len(order)] = marked[row][order]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            customdata=names,
            text=[[called] * columns for called in rows_called],
            coloraxis="coloraxis",
            hoverongaps=False,
            hovertemplate=f"layer %{{text}}, {unit} %{{customdata}}<br>{name} %{{z:.3f}}<extra></extra>",
            xgap=0 if by_rank else 1,
            ygap=1,
        )
    )
    rows, places = np.nonzero(dots)
    if len(rows) and not by_rank:
        figure.add_trace(
            go.Scatter(
                x=places,
                y=rows,
                mode="markers",
                marker={"size": 6, "color": "white", "line": {"color": "black", "width": 1}},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    elif len(rows):
        # A dot a channel would be a bar of ink; the sorted layer needs only the place where they end.
        ends = dots.sum(axis=1)
        figure.add_trace(
            go.Scatter(
                x=ends - 0.5,
                y=np.arange(len(scores)),
                mode="markers",
                marker={"size": 16, "symbol": "line-ns", "line": {"color": "#D55E00", "width": 3}},
                customdata=ends,
                text=rows_called,
                hovertemplate=f"layer %{{text}}: %{{customdata}} {unit}s above the null<extra></extra>",
                showlegend=False,
            )
        )
    across = f"{unit}, best first in each layer" if by_rank else unit
    colours = colour_axis(values, is_signed(values), name)
    colours["cmax"] = max(colours["cmax"], full_scale)
    colours["cmin"] = -colours["cmax"] if colours["cmin"] else 0
    ticks = list(range(0, len(scores), -(-len(scores) // 10)))
    figure.update_layout(
        coloraxis=colours,
        xaxis={
            "title": across,
            "range": [-0.5, columns - 0.5],
            "tick0": 0,
            "dtick": max(1, -(-columns // 16)),
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
            "ticks": "",
        },
        yaxis={
            "title": "layer",
            "tickmode": "array",
            "tickvals": ticks,
            "ticktext": [rows_called[row] for row in ticks],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
            "ticks": "",
        },
        **plain_layout(),
    )
    return figure
