"""Titles of figures that stand by themselves, in a notebook or a slide."""

from __future__ import annotations

import plotly.graph_objects as go

from workbench.figures.tokens import escape_label

TITLE_ROOM = 44  # pixels above the plot, and what is drawn over it, for one line of title


def titled(figure: go.Figure, title: str, *, height: int = 420, width: int | None = None) -> go.Figure:
    """The same figure with a title above it and a size of its own; pages put their captions elsewhere.

    Args:
        figure: changed in place, and returned.
        title: plain text; it says what is drawn, with its unit.
        height: pixels.
        width: pixels; by default as wide as the cell.
    """
    top = 8 if figure.layout.margin.t is None else figure.layout.margin.t
    figure.update_layout(
        title={
            "text": escape_label(title),
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "y": 1 - 12 / height,
            "yref": "container",
            "yanchor": "top",
            "font": {"size": 14},
        },
        margin_t=top + TITLE_ROOM + _colour_bars_above(figure),
        height=height,
        width=width,
    )
    return figure


def _colour_bars_above(figure: go.Figure) -> int:
    """Pixels that colour bars need which lie along the top edge: Plotly makes no room for them by itself."""
    axes = [figure.layout[name] for name in figure.layout if name.startswith("coloraxis")]
    bars = [axis.colorbar for axis in axes]
    return 50 if any(bar.orientation == "h" and (bar.y or 0) >= 1 for bar in bars) else 0
