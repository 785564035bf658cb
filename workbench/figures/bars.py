"""What an ablation did, against its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from workbench.figures.colours import CONDITIONS
from workbench.figures.maps import plain_layout
from workbench.figures.tokens import escape_label


@dataclass(frozen=True)
class Bar:
    """One measured value: `panel` (a metric), `group` (where it was measured), `condition` (what was done).

    `low` and `high` bound its interval; `points` are the single draws behind it, shown as dots.
    """

    panel: str
    group: str
    condition: str
    value: float
    low: float | None = None
    high: float | None = None
    points: Sequence[float] = field(default=())


def ablation_bars(bars: Sequence[Bar]) -> go.Figure:
    """Grouped bars with intervals: a panel a metric, a group of bars a measured place, a bar a condition."""
    panels = list(dict.fromkeys(bar.panel for bar in bars))
    groups = list(dict.fromkeys(bar.group for bar in bars))
    conditions = list(dict.fromkeys(bar.condition for bar in bars))
    figure = make_subplots(rows=1, cols=max(1, len(panels)), horizontal_spacing=0.12)
    width = 0.8 / max(1, len(conditions))
    for column, panel in enumerate(panels, start=1):
        for index, condition in enumerate(conditions):
            mine = [bar for bar in bars if bar.panel == panel and bar.condition == condition]
            places = [groups.index(bar.group) + (index - (len(conditions) - 1) / 2) * width for bar in mine]
            figure.add_trace(
                go.Bar(
                    x=places,
                    y=[bar.value for bar in mine],
                    width=width * 0.94,
                    name=escape_label(condition),
                    legendgroup=str(index),
                    showlegend=column == 1,
                    marker={"color": CONDITIONS[index % len(CONDITIONS)]},
                    error_y=_whiskers(mine),
                    hovertemplate=f"{escape_label(condition)}<br>{escape_label(panel)} %{{y:.3f}}<extra></extra>",
                ),
                row=1,
                col=column,
            )
            dots = [(place, value) for place, bar in zip(places, mine, strict=True) for value in bar.points]
            if dots:
                figure.add_trace(
                    go.Scatter(
                        x=[place for place, _ in dots],
                        y=[value for _, value in dots],
                        mode="markers",
                        marker={"size": 4, "color": "rgba(128,128,128,0.9)", "line": {"width": 0}},
                        hoverinfo="skip",
                        showlegend=False,
                    ),
                    row=1,
                    col=column,
                )
        figure.update_xaxes(
            tickmode="array",
            tickvals=list(range(len(groups))),
            ticktext=[escape_label(group) for group in groups],
            showgrid=False,
            zeroline=False,
            ticks="",
            automargin=True,
            row=1,
            col=column,
        )
        figure.update_yaxes(
            title_text=escape_label(panel),
            gridcolor="rgba(128,128,128,0.25)",
            zerolinecolor="rgba(128,128,128,0.6)",
            rangemode="tozero",
            automargin=True,
            row=1,
            col=column,
        )
    figure.update_layout(
        **plain_layout(),
        barmode="overlay",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def error_bars(value: ArrayLike, low: ArrayLike, high: ArrayLike, **look: Any) -> dict[str, Any]:
    """Plotly's ``error_y`` from values to the bounds of their intervals, of no length where a bound is NaN.

    Args:
        look: what else Plotly is to know, as ``thickness``.
    """
    at = np.asarray(value, dtype=np.float64)
    above, below = np.asarray(high, dtype=np.float64) - at, at - np.asarray(low, dtype=np.float64)
    array, arrayminus = (np.nan_to_num(length.clip(min=0)).tolist() for length in (above, below))
    return {"type": "data", "symmetric": False, "array": array, "arrayminus": arrayminus, **look}


def _whiskers(bars: Sequence[Bar]) -> dict[str, Any]:
    low = [bar.value if bar.low is None else bar.low for bar in bars]
    high = [bar.value if bar.high is None else bar.high for bar in bars]
    made = error_bars([bar.value for bar in bars], low, high, color="rgba(128,128,128,1)", thickness=1.5, width=4)
    return {**made, "visible": any(made["array"]) or any(made["arrayminus"])}
