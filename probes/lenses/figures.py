"""Pictures of lenses: trajectories of predictions, and measures against depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.figures.colours import CONDITIONS
from workbench.figures.maps import GRID, colour_axis, plain_layout
from workbench.figures.tokens import escape_label, token_label, visible_token

if TYPE_CHECKING:
    from workbench.probes.lenses.trajectory import Trajectory

TITLES = {
    "probability": "probability of the likeliest token",
    "entropy": "entropy (nats)",
    "kl": "KL to the model (nats)",
    "loss": "loss of the next token (nats)",
    "surprisal": "surprisal of the model's answer (nats)",
    "bits_per_token": "bits a token",
    "bits_per_byte": "bits a byte",
    "accuracy": "accuracy",
}
MOST_WORDS = 24  # columns in which a word still fits its cell


def trajectory_map(shown: Trajectory, colour: str) -> go.Figure:
    """Depth against position: the lens' likeliest token in each cell, over the colour of a measure.

    Words are left out of the cells where there are more tokens than fit, and stand in the hover text in any case. All
    text is escaped.
    """
    measures = {"probability": shown.probability, "entropy": shown.entropy, "kl": shown.kl, "loss": shown.loss}
    values = measures[colour].float().numpy()
    depths, time = values.shape
    labels = [[token_label(word, 9) for word in row] for row in shown.words]
    hover = [
        [
            f"{token_label(shown.tokens[position], 40)} (token {shown.first + position}), depth {depth}<br>"
            f"{escape_label(visible_token(shown.words[depth][position]))}<br>"
            f"probability {shown.probability[depth, position]:.3f}, entropy {shown.entropy[depth, position]:.2f}, "
            f"KL {shown.kl[depth, position]:.2f}, loss {shown.loss[depth, position]:.2f}"
            for position in range(time)
        ]
        for depth in range(depths)
    ]
    every = max(1, -(-time // MOST_WORDS))
    figure = go.Figure(
        go.Heatmap(
            z=values,
            coloraxis="coloraxis",
            text=labels if every == 1 else None,
            texttemplate="%{text}" if every == 1 else None,
            textfont={"size": 10},
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    ticks = list(range(0, time, every))
    figure.update_layout(
        coloraxis=colour_axis(values, False, TITLES[colour]),
        xaxis={
            "tickmode": "array",
            "tickvals": ticks,
            "ticktext": [token_label(shown.tokens[tick], 9) for tick in ticks],
            "title": "token read",
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
        },
        yaxis={"title": "depth", "showgrid": False, "zeroline": False, "automargin": True, "dtick": -(-depths // 16)},
        **plain_layout(),
    )
    return figure


@checked_call
def depth_curves(table: pd.DataFrame, measure: str = "kl") -> go.Figure:
    """A measure of `evaluate_lenses` against depth, a line a lens, with its interval as a band.

    Raises:
        InputError: the table has no such measure.
    """
    if measure not in table or f"{measure}_low" not in table:
        known = [name.removesuffix("_low") for name in table.columns if name.endswith("_low")]
        raise InputError(f"The table has no measure {measure!r}; it has: {', '.join(known)}.")
    figure = go.Figure()
    for number, (name, rows) in enumerate(table.groupby("lens", sort=False)):
        rows = rows.sort_values("depth")
        colour = CONDITIONS[(number + 1) % len(CONDITIONS)]
        depths = rows["depth"].tolist()
        figure.add_trace(
            go.Scatter(
                x=depths + depths[::-1],
                y=rows[f"{measure}_high"].tolist() + rows[f"{measure}_low"].tolist()[::-1],
                fill="toself",
                mode="none",
                fillcolor=colour,
                opacity=0.25,
                hoverinfo="skip",
                showlegend=False,
                legendgroup=str(name),
            )
        )
        figure.add_trace(
            go.Scatter(
                x=depths,
                y=rows[measure].tolist(),
                mode="lines+markers",
                name=escape_label(str(name)),
                line={"color": colour},
                legendgroup=str(name),
                hovertemplate=f"{escape_label(str(name))}, depth %{{x}}: %{{y:.3f}}<extra></extra>",
            )
        )
    figure.update_layout(
        xaxis={"title": "depth (blocks that have run)", **GRID},
        yaxis={"title": escape_label(TITLES.get(measure, measure)), "rangemode": "tozero", **GRID},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **plain_layout(),
    )
    return figure
