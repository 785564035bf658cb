"""Entropy, divergence and loss of lenses over depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from workbench.app.views.lens import MEASURES, Grid
from workbench.figures.colours import CONDITIONS
from workbench.figures.maps import GRID, plain_layout
from workbench.figures.tokens import escape_label


def depth_curve(grids: Sequence[Grid], measure: str, position: int | None) -> go.Figure:
    """A measure over depth, averaged over the positions shown; dotted, at the selected one.

    Args:
        grids: one a lens, of one window.
        measure: of `MEASURES`.
        position: selected, in the text; None for none.
    """
    figure = go.Figure()
    for number, grid in enumerate(grids):
        values = grid.values(measure)
        colour = CONDITIONS[1 + number % (len(CONDITIONS) - 1)]
        depths = np.arange(grid.depths)
        lens = escape_label(grid.shown.lens)
        figure.add_trace(
            go.Scatter(
                x=depths,
                y=np.nanmean(values, axis=1) if np.isfinite(values).any() else np.full(len(depths), np.nan),
                mode="lines+markers",
                name=lens,
                line={"color": colour},
                hovertemplate=f"{lens}, depth %{{x}}: %{{y:.3f}}<extra></extra>",
            )
        )
        at = None if position is None else position - grid.shown.first
        if at is not None and 0 <= at < values.shape[1] and np.isfinite(values[:, at]).all():
            figure.add_trace(
                go.Scatter(
                    x=depths,
                    y=values[:, at],
                    mode="lines",
                    name=f"{lens}, position {position}",
                    line={"color": colour, "dash": "dot"},
                    hovertemplate=f"{lens}, position {position}, depth %{{x}}: %{{y:.3f}}<extra></extra>",
                )
            )
    depths_shown = max(grid.depths for grid in grids)
    figure.update_layout(
        xaxis={"title": "depth (blocks that have run)", "dtick": max(1, depths_shown // 8), **GRID},
        yaxis={"title": MEASURES[measure], "rangemode": "tozero", **GRID},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        height=300,
        **plain_layout(),
    )
    return figure
