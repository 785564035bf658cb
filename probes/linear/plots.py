"""Scores of probes by layer and by k."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from workbench.errors import InputError
from workbench.figures.bars import error_bars
from workbench.figures.colours import CONDITIONS, NEGATIVE, POSITIVE
from workbench.figures.maps import plain_layout
from workbench.figures.tokens import escape_label

_LINES = (NEGATIVE, POSITIVE, *CONDITIONS[1:])


def plot_by_layer(tables: pd.DataFrame | Mapping[str, pd.DataFrame], score: str | None = None) -> go.Figure:
    """A score over the layers with its interval, a line a place (and a table); dashes are baseline and control task.

    Args:
        tables: `ProbeSweep.table`, or several by name (of the models, say).
        score: a column; accuracy or R² by default.

    Raises:
        InputError: no such column, or probes of single heads.
    """
    named = {"": tables} if isinstance(tables, pd.DataFrame) else dict(tables)
    lines = []
    for name, table in named.items():
        chosen = score or ("accuracy" if "accuracy" in table else "r2")
        if f"{chosen}_low" not in table:
            raise InputError(f"The table has no score {chosen!r}; it has {', '.join(map(str, table.columns))}.")
        if "head" in table and (table["head"] >= 0).any():
            raise InputError("A line over layers is of whole hooks; this table has single heads (use score_map).")
        for hook, rows in table[table["layer"] >= 0].groupby("asked", sort=False):
            lines.append((f"{name} {hook}".strip(), rows.sort_values("layer"), chosen))
    figure = _lines(lines, "layer")
    figure.update_xaxes(title="layer", dtick=max(1, -(-max(len(rows) for _, rows, _ in lines) // 16)))
    return figure


def plot_by_k(tables: pd.DataFrame | Mapping[str, pd.DataFrame], score: str | None = None) -> go.Figure:
    """A score over the number of units (log scale), a line a table of `SparseSweep.table`, with its interval.

    Raises:
        InputError: no such column.
    """
    named = {"k-sparse": tables} if isinstance(tables, pd.DataFrame) else dict(tables)
    lines = []
    for name, table in named.items():
        chosen = score or ("accuracy" if "accuracy" in table else "r2")
        if f"{chosen}_low" not in table:
            raise InputError(f"The table has no score {chosen!r}; it has {', '.join(map(str, table.columns))}.")
        lines.append((name, table.sort_values("k"), chosen))
    figure = _lines(lines, "k")
    figure.update_xaxes(title="k (units)", type="log")
    return figure


def _lines(lines: list[tuple[str, pd.DataFrame, str]], across: str) -> go.Figure:
    figure = go.Figure()
    for number, (name, rows, score) in enumerate(lines):
        colour = _LINES[number % len(_LINES)]
        x, y = rows[across].tolist(), rows[score].astype(float)
        told = f"{escape_label(name)}<br>{across} %{{x}}<br>{escape_label(score)} %{{y:.3f}}<extra></extra>"
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y.tolist(),
                mode="lines+markers",
                name=escape_label(name),
                line={"color": colour},
                error_y=error_bars(y, rows[f"{score}_low"], rows[f"{score}_high"], thickness=1.5, width=3),
                hovertemplate=told,
            )
        )
        if "control" in rows and score in ("accuracy", "r2"):
            figure.add_trace(_dashes(x, rows["control"].tolist(), f"{name} control task", colour, "dot"))
    of_classes = [(x, rows) for _, rows, score in lines if score == "accuracy" for x in [rows[across].tolist()]]
    if of_classes:
        x, rows = of_classes[0]
        figure.add_trace(_dashes(x, rows["baseline"].tolist(), "commonest class", "rgba(128,128,128,1)", "dash"))
    label = escape_label(lines[0][2] if lines else "score")
    figure.update_layout(
        **plain_layout(),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        yaxis={"title": label, "gridcolor": "rgba(128,128,128,0.25)", "automargin": True, "zeroline": False},
        xaxis={"showgrid": False, "automargin": True, "zeroline": False},
    )
    return figure


def _dashes(x: list[float], y: list[float], name: str, colour: str, dash: str) -> go.Scatter:
    return go.Scatter(x=x, y=y, mode="lines", name=escape_label(name), line={"color": colour, "dash": dash, "width": 1})
