"""Curves with intervals, of the tables that this room makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from workbench.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")


def curve_figure(
    tables: Mapping[str, pd.DataFrame],
    x: str,
    y: str,
    *,
    title_x: str | None = None,
    title_y: str | None = None,
    mark: float | None = None,
    mark_name: str = "trained length",
    log_x: bool = False,
    log_y: bool = False,
) -> go.Figure:
    """One line a table, with the band from its column ``low`` to ``high`` where it has them.

    Args:
        tables: by what each line is called.
        x, y: columns.
        title_x, title_y: what the axes are called; the columns' names by default.
        mark: where a dashed vertical line stands, such as the trained length.
        mark_name: what it is called.
        log_x, log_y: logarithmic axes; values that are not above 0 are left out there.

    Raises:
        InputError: no table, or one without these columns.
    """
    import plotly.graph_objects as go

    from workbench.figures.maps import plain_layout
    from workbench.figures.tokens import escape_label

    if not tables:
        raise InputError("There is no table to draw.")
    figure = go.Figure()
    for number, (name, table) in enumerate(tables.items()):
        missing = [column for column in (x, y) if column not in table.columns]
        if missing:
            raise InputError(f"The table {name!r} has no column {missing[0]!r}; it has {', '.join(table.columns)}.")
        shown = table[((table[x] > 0) | (not log_x)) & ((table[y] > 0) | (not log_y))]
        colour = _COLOURS[number % len(_COLOURS)]
        if {"low", "high"} <= set(shown.columns):
            figure.add_trace(
                go.Scatter(
                    x=[*shown[x], *shown[x][::-1]],
                    y=[*shown["high"], *shown["low"][::-1]],
                    fill="toself",
                    fillcolor=colour,
                    opacity=0.2,
                    line={"width": 0},
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=str(number),
                )
            )
        figure.add_trace(
            go.Scatter(
                x=shown[x].tolist(),
                y=shown[y].tolist(),
                mode="lines",
                line={"color": colour, "width": 2},
                name=escape_label(name),
                legendgroup=str(number),
                hovertemplate=f"{escape_label(name)}<br>{x} %{{x}}<br>{y} %{{y:.4g}}<extra></extra>",
            )
        )
    if mark is not None:
        figure.add_vline(x=mark, line={"dash": "dash", "color": "rgba(128,128,128,0.9)"}, annotation_text=mark_name)
    grid = {"gridcolor": "rgba(128,128,128,0.25)", "automargin": True}
    figure.update_layout(
        **plain_layout(),
        xaxis={"title": title_x or x, "type": "log" if log_x else "linear", **grid},
        yaxis={"title": title_y or y, "type": "log" if log_y else "linear", **grid},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure
