"""A picture of how a training went."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_PANELS = (
    ("explained_variance", "explained variance"),
    ("loss", "loss"),
    ("l0", "L0: features a vector"),
    ("dead", "dead features"),
)


def training_figure(history: pd.DataFrame) -> go.Figure:
    """Explained variance, loss, L0 and dead features over the vectors trained on.

    Args:
        history: of `training_history`.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=2, shared_xaxes=True, subplot_titles=[title for _, title in _PANELS])
    for place, (column, title) in enumerate(_PANELS):
        line = go.Scatter(
            x=history["vectors"],
            y=history[column],
            mode="lines",
            name=title,
            line={"color": "#0072B2"},
            hovertemplate=f"%{{x:,}} vectors<br>{title} %{{y:.4g}}<extra></extra>",
        )
        figure.add_trace(line, row=place // 2 + 1, col=place % 2 + 1)
    figure.update_xaxes(title_text="vectors", row=2)
    figure.update_layout(showlegend=False, height=560, margin={"l": 60, "r": 20, "t": 40, "b": 50})
    return figure
