"""The picture of a repetition experiment: scores under each condition, and how fast a repeated text gets likelier."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.bars import error_bars
from workbench.figures.colours import CONDITIONS
from workbench.figures.maps import plain_layout
from workbench.saes.using.repetition_runs import CONTROLS, FEATURES, UNSTEERED, RepetitionExperiment

_COLOURS = dict(zip((UNSTEERED, FEATURES, CONTROLS), CONDITIONS, strict=False))


def repetition_figure(experiment: RepetitionExperiment) -> go.Figure:
    """Left: the repetition score by task and strength; right: the probability of a text's tokens, copy by copy."""
    figure = make_subplots(rows=1, cols=2, column_widths=[0.6, 0.4], horizontal_spacing=0.12)
    table = experiment.generation
    groups = list(dict.fromkeys(zip(table["task"], table["strength"], strict=True)))
    for number, (condition, colour) in enumerate(_COLOURS.items()):
        some = table[table["condition"] == condition]
        figure.add_trace(
            go.Bar(
                x=[groups.index(key) + 0.27 * (number - 1) for key in zip(some["task"], some["strength"], strict=True)],
                y=some["score"],
                width=0.25,
                name=condition,
                legendgroup=condition,
                marker={"color": colour},
                error_y=error_bars(some["score"], some["score_low"], some["score_high"], color="rgba(128,128,128,1)"),
                hovertemplate=f"{condition}<br>repetition score %{{y:.3f}}<extra></extra>",
            ),
            row=1,
            col=1,
        )
        curve = experiment.reinforcement[experiment.reinforcement["condition"] == condition]
        figure.add_trace(
            go.Scatter(
                x=curve["copy"],
                y=curve["probability"],
                mode="lines+markers",
                name="ablated " + condition if condition != UNSTEERED else condition,
                legendgroup=condition,
                showlegend=False,
                line={"color": colour},
                error_y=error_bars(curve["probability"], curve["low"], curve["high"]),
                hovertemplate=f"{condition}<br>copy %{{x}}: %{{y:.3f}}<extra></extra>",
            ),
            row=1,
            col=2,
        )
    words = [f"clamped at {strength:g} × max" if task == "induce" else "ablated" for task, strength in groups]
    grid = {"gridcolor": "rgba(128,128,128,0.25)", "zerolinecolor": "rgba(128,128,128,0.6)", "automargin": True}
    figure.update_xaxes(tickmode="array", tickvals=[*range(len(groups))], ticktext=words, showgrid=False, row=1, col=1)
    figure.update_xaxes(title_text="copy", dtick=1, showgrid=False, row=1, col=2)
    figure.update_yaxes(title_text="repetition score", rangemode="tozero", **grid, row=1, col=1)
    figure.update_yaxes(title_text="probability, features ablated", rangemode="tozero", **grid, row=1, col=2)
    figure.update_layout(
        **plain_layout(), barmode="overlay", legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    )
    return figure
