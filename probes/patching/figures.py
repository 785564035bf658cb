"""Pictures of sweeps: effects by layer and position, and direct against total effects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.figures import token_label
from workbench.figures.colours import CONDITIONS, is_signed
from workbench.figures.maps import MOST_TICKS, colour_axis, plain_layout


@checked_call
def effect_map(
    table: pd.DataFrame,
    *,
    rows: str = "layer",
    columns: str = "position",
    values: str = "effect",
    tokens: Sequence[str] | None = None,
) -> go.Figure:
    """Heat map of a sweep's effects, for example layers by positions, layers by heads, or targets by sources.

    Args:
        table: what `activation_patching`, `attribution_patching` or `back_patching` returned.
        rows, columns: columns of the table that are the axes.
        values: column that is the colour.
        tokens: text of every position, for the ticks of the horizontal axis.

    Raises:
        InputError: the table lacks a column, or has several rows for one cell.
    """
    missing = [name for name in (rows, columns, values) if name not in table]
    if missing:
        raise InputError(f"The table has no column {missing[0]!r}; it has: {', '.join(table.columns)}.")
    if table.duplicated([rows, columns]).any():
        raise InputError(f"Several rows of the table share {rows} and {columns}; choose one hook, or other axes.")
    grid = table.pivot(index=rows, columns=columns, values=values)
    shown = grid.to_numpy(np.float32)
    across = [int(column) for column in grid.columns]
    names = [token_label(tokens[at]) if tokens is not None and 0 <= at < len(tokens) else str(at) for at in across]
    ticks = range(0, len(across), max(1, -(-len(across) // MOST_TICKS)))
    down = [str(row) for row in grid.index]
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            customdata=np.array([names] * len(down)),
            text=[[row] * len(across) for row in down],
            coloraxis="coloraxis",
            hoverongaps=False,
            hovertemplate=f"{rows} %{{text}}, {columns} %{{customdata}}<br>{values} %{{z:.4g}}<extra></extra>",
        )
    )
    plain = {"showgrid": False, "zeroline": False, "automargin": True, "ticks": "", "tickmode": "array"}
    figure.update_layout(
        coloraxis=colour_axis(shown, is_signed(shown), values),
        xaxis={**plain, "title": columns, "tickvals": [*ticks], "ticktext": [names[i] for i in ticks]},
        yaxis={**plain, "title": rows, "tickvals": [*range(len(down))], "ticktext": down},
        **plain_layout(),
    )
    return figure


@checked_call
def effects_scatter(table: pd.DataFrame) -> go.Figure:
    """Direct against total effect, a dot a component; what lies off the diagonal was repaired, or came about later.

    Args:
        table: what `direct_and_total_effects` returned.

    Raises:
        InputError: another table.
    """
    needed = ("site", "part", "direct", "total", "compensation")
    missing = [name for name in needed if name not in table]
    if missing:
        raise InputError(f"The table has no column {missing[0]!r}; direct_and_total_effects makes one that has.")
    figure = go.Figure()
    both = table[["direct", "total"]].to_numpy(float)
    ends = [float(both.min()), float(both.max())] if len(both) else [0.0, 1.0]
    diagonal = {"color": "#8F8F8F", "dash": "dot"}
    figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=diagonal, name="direct = total", hoverinfo="skip"))
    for index, (part, some) in enumerate(table.groupby("part", sort=False)):
        figure.add_trace(
            go.Scatter(
                x=some["direct"],
                y=some["total"],
                mode="markers",
                name=str(part),
                text=some["site"],
                customdata=some["compensation"],
                marker={"size": 8, "color": CONDITIONS[1:][index % (len(CONDITIONS) - 1)]},
                hovertemplate="%{text}<br>direct %{x:.3f}<br>total %{y:.3f}<br>compensation %{customdata:.3f}"
                "<extra></extra>",
            )
        )
    axis = {"showgrid": False, "zeroline": True, "zerolinecolor": "rgba(128,128,128,0.5)", "automargin": True}
    figure.update_layout(
        xaxis={**axis, "title": "direct effect of the ablation"},
        yaxis={**axis, "title": "total effect of the ablation"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        **plain_layout(),
    )
    return figure
