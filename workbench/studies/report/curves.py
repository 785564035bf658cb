"""Effects with their intervals along an axis: over dose, over depth, beside controls, pairs against sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.figures.bars import error_bars
from workbench.figures.colours import NEGATIVE, POSITIVE
from workbench.figures.maps import plain_layout
from workbench.figures.tokens import escape_label
from workbench.studies.report.grids import describe
from workbench.studies.report.ranked import records

# Told apart on light and on dark pages, and with the common colour-vision deficiencies (Okabe and Ito 2008).
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#AA4499", "#7F7F7F")
DASHES = ("solid", "dash", "dot")
GREY = "rgba(128,128,128,0.9)"


def curves(
    table: pd.DataFrame, by: str, across: str, name: str, over: str, *, numbers: Sequence[float] | None = None
) -> go.Figure:
    """A line with whiskers for each value of the column `by`, over the column `across`.

    Args:
        table: with ``effect``, ``low`` and ``high``.
        name, over: titles of the axes.
        numbers: ticks of the axis across; Plotly's own by default.
    """
    figure = go.Figure()
    at = escape_label(over)
    for place, (called, rows) in enumerate(table.groupby(by, sort=False, observed=True)):
        colour = LINES[place % len(LINES)]
        figure.add_trace(
            go.Scatter(
                x=rows[across].to_numpy(dtype=np.float64),
                y=rows["effect"].to_numpy(dtype=np.float64),
                error_y=_whiskers(rows, colour),
                mode="lines+markers",
                name=escape_label(str(called)),
                line={"color": colour, "width": 1.8, "dash": DASHES[place // len(LINES) % len(DASHES)]},
                marker={"size": 6, "color": colour},
                hovertemplate=f"{escape_label(str(called))}<br>{at} %{{x:.3g}}: %{{y:.3g}}<extra></extra>",
            )
        )
    ticks = {} if numbers is None else {"tickmode": "array", "tickvals": list(numbers)}
    return _dressed(figure, name, over, legend=True, **ticks)


def interaction_plot(pairs: pd.DataFrame, name: str) -> go.Figure:
    """What both parts of each pair do at once, over the sum of what they do alone; on the line nothing interacts."""
    expected = (pairs["effect_first"] + pairs["effect_second"]).to_numpy(dtype=np.float64)
    both = pairs["effect"].to_numpy(dtype=np.float64)
    figure = go.Figure()
    ends = [float(np.nanmin([expected, both])), float(np.nanmax([expected, both]))]
    figure.add_trace(
        go.Scatter(
            x=ends, y=ends, mode="lines", line={"color": GREY, "dash": "dash"}, hoverinfo="skip", showlegend=False
        )
    )
    for significant, called, symbol in ((True, "interacts", "circle"), (False, "not shown to", "circle-open")):
        chosen = (pairs["significant"] == significant).to_numpy(dtype=bool)
        if chosen.any():
            texts = [escape_label(describe({**row, "effect": row["interaction"]})) for row in records(pairs[chosen])]
            figure.add_trace(
                go.Scatter(
                    x=expected[chosen],
                    y=both[chosen],
                    mode="markers",
                    name=called,
                    marker={"symbol": symbol, "size": 8, "color": POSITIVE if significant else GREY},
                    text=texts,
                    hovertemplate="interaction of %{text}<extra></extra>",
                )
            )
    return _dressed(figure, f"{name}, both at once", f"{name}, sum of the two alone", legend=True)


def controls_plot(edits: pd.DataFrame, controls: dict[str, Sequence[float]], name: str) -> go.Figure:
    """Each edit beside its random controls: one column an edit, a small dot a control.

    Args:
        edits: rows of `effects_table`, one an edit.
        controls: effects of the controls, by the edit's label.
    """
    labels = [str(label) for label in edits["label"]]
    x = [place for place, label in enumerate(labels) for _ in controls[label]]
    y = [float(effect) for label in labels for effect in controls[label]]
    figure = go.Figure(
        [
            go.Scatter(
                x=x,
                y=y,
                mode="markers",
                name="random controls",
                marker={"size": 5, "color": "rgba(128,128,128,0.55)"},
                hovertemplate="control: %{y:.3g}<extra></extra>",
            ),
            go.Scatter(
                x=list(range(len(labels))),
                y=edits["effect"].to_numpy(dtype=np.float64),
                error_y=_whiskers(edits, NEGATIVE),
                mode="markers",
                name="edit",
                marker={"size": 10, "symbol": "diamond", "color": NEGATIVE},
                text=[escape_label(describe(row)) for row in records(edits)],
                hovertemplate="%{text}<extra></extra>",
            ),
        ]
    )
    shown = [label if len(label) <= 24 else label[:23] + "…" for label in labels]
    ticks = {"tickmode": "array", "tickvals": list(range(len(labels))), "ticktext": [escape_label(s) for s in shown]}
    return _dressed(figure, name, "", legend=True, **ticks, range=[-0.6, len(labels) - 0.4])


def _whiskers(rows: pd.DataFrame, colour: str) -> dict[str, Any]:
    return error_bars(rows["effect"], rows["low"], rows["high"], color=colour, thickness=1.2, width=3)


def _dressed(figure: go.Figure, name: str, over: str, legend: bool, **across: Any) -> go.Figure:
    line = {"gridcolor": "rgba(128,128,128,0.25)", "zerolinecolor": "rgba(128,128,128,0.8)", "automargin": True}
    figure.update_layout(
        xaxis={**line, "zeroline": False, "title": escape_label(over), **across},
        yaxis={**line, "title": escape_label(name)},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        showlegend=legend,
        **plain_layout(),
    )
    return figure
