"""Figures that stand by themselves, in a notebook or a slide: empty axes in the look of all others, and titles."""

from __future__ import annotations

import plotly.graph_objects as go

from workbench.figures.maps import plain_layout
from workbench.figures.tokens import escape_label

TITLE_ROOM = 44  # pixels above what is drawn, for one line of title
LEGEND_ROOM = 26


def plain_figure(x: str, y: str) -> go.Figure:
    """Empty axes with their titles, to add traces to; a legend, where there is one, lies above the plot.

    Args:
        x, y: plain text; what the axes count, with its unit.
    """
    axis = {"automargin": True, "zeroline": False, "ticks": "outside", "gridcolor": "rgba(128,128,128,0.2)"}
    figure = go.Figure()
    figure.update_layout(
        **plain_layout(),
        xaxis={**axis, "title": escape_label(x), "showgrid": False},
        yaxis={**axis, "title": escape_label(y)},
        legend={"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom"},
    )
    return figure


def titled(figure: go.Figure, title: str, *, height: int = 420, width: int | None = None) -> go.Figure:
    """The same figure with a title above it and a size of its own; pages put their captions elsewhere.

    Args:
        figure: changed in place, and returned.
        title: plain text; it says what is drawn, with its unit.
        height: pixels.
        width: pixels; by default as wide as the cell.
    """
    top = 8 if figure.layout.margin.t is None else figure.layout.margin.t
    legend = figure.layout.legend
    above = legend.orientation == "h" and (legend.y or 0) >= 1 and sum(bool(trace.name) for trace in figure.data) > 1
    figure.update_layout(
        # Plotly puts it into the middle of the margin; told where, it hides titles beside colour bars.
        title={"text": escape_label(title), "x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 14}},
        margin_t=top + TITLE_ROOM + LEGEND_ROOM * above,
        height=height,
        width=width,
    )
    return figure
