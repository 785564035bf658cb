"""A cell's value over its text, and where gates are saturated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.figures.colours import CONDITIONS, NEGATIVE, POSITIVE, is_signed
from workbench.figures.maps import colour_axis, plain_layout
from workbench.figures.tokens import token_label


def plot_cell(
    tokens: Sequence[str], values: Float[np.ndarray, " time"], *, a_line: int = 24, name: str = "value"
) -> go.Figure:
    """A text, token by token, on the colour of a cell's value after each.

    Args:
        tokens: as text, unescaped.
        values: one a token.
        a_line: tokens a line; a line also ends where the text has a newline.

    Raises:
        InputError: another number of values than of tokens, or none.
    """
    if len(tokens) != len(values) or len(tokens) == 0:
        raise InputError(f"There are {len(values)} values for {len(tokens)} tokens; one a token is needed.")
    if a_line < 1:
        raise InputError(f"{a_line} tokens a line are none.")
    lines: list[list[int]] = [[]]
    for at, token in enumerate(tokens):
        if len(lines[-1]) == a_line:
            lines.append([])
        lines[-1].append(at)
        if "\n" in token:
            lines.append([])
    lines = [line for line in lines if line]
    width = max(len(line) for line in lines)
    shown = np.full((len(lines), width), np.nan, dtype=np.float32)
    text = [[""] * width for _ in lines]
    for row, line in enumerate(lines):
        for column, at in enumerate(line):
            shown[row, column] = values[at]
            text[row][column] = token_label(tokens[at], 9)
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            text=text,
            texttemplate="%{text}",
            coloraxis="coloraxis",
            hoverongaps=False,
            xgap=1,
            ygap=4,
            hovertemplate="%{text}<br>%{z:.3g}<extra></extra>",
        )
    )
    bare = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": ""}
    figure.update_layout(
        **plain_layout(),
        coloraxis=colour_axis(shown, is_signed(shown), name),
        xaxis=bare,
        yaxis={**bare, "autorange": "reversed"},
        height=120 + 26 * len(lines),
    )
    return figure


@checked_call
def plot_saturation(table: pd.DataFrame) -> go.Figure:
    """A dot a unit: how often its gate is right-saturated, over how often it is left-saturated (the paper's figure 3).

    Args:
        table: of `gate_saturation`.
    """
    figure = go.Figure()
    colours = {"forget": NEGATIVE, "input": POSITIVE, "output": CONDITIONS[2]}
    layers = sorted(table["layer"].unique())
    for (gate, layer), part in table.groupby(["gate", "layer"], sort=False):
        figure.add_trace(
            go.Scatter(
                x=part["left"].tolist(),
                y=part["right"].tolist(),
                mode="markers",
                name=f"{gate}, layer {layer}",
                legendgroup=str(gate),
                customdata=part["unit"].tolist(),
                marker={"color": colours[str(gate)], "symbol": layers.index(layer) % 8, "size": 6, "opacity": 0.6},
                hovertemplate=f"{gate} gate, layer {layer}, unit %{{customdata}}<br>"
                "shut %{x:.2f}, open %{y:.2f}<extra></extra>",
            )
        )
    # Shares of one whole: nothing lies above the diagonal.
    figure.add_trace(
        go.Scatter(x=[0, 1], y=[1, 0], mode="lines", line={"color": "rgba(128,128,128,0.5)"}, showlegend=False)
    )
    grid = {"range": [-0.02, 1.02], "gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "automargin": True}
    figure.update_layout(
        **plain_layout(),
        xaxis={**grid, "title": "share of tokens below the lower limit"},
        yaxis={**grid, "title": "share of tokens above the upper limit"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure
