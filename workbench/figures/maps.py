"""The token x token map of one head: who reads from whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from workbench.figures.colours import HATCH, MISSING, SIGNED, is_signed, signed_limit, unsigned_limit, unsigned_scale
from workbench.figures.tokens import token_label

MOST_TICKS = 32  # more labels than this overlap on an 800 px figure


def attention_map(
    weights: Float[np.ndarray, "query source"],
    tokens: Sequence[str],
    *,
    factor: int = 1,
    signed: bool | None = None,
    name: str = "weight",
) -> go.Figure:
    """Heat map of a causal matrix; rows are the tokens that read, columns the tokens that are read.

    Future cells are hatched, because a masked cell is not a zero; entries that are not numbers are grey and counted on
    the colour bar.

    Args:
        weights: ``[query, source]``, row 0 the first token; pixels of `pool_causal` when `factor` is above 1.
        tokens: text of every token, unescaped.
        factor: tokens a pixel side stands for.
        signed: force the signed (True) or unsigned (False) colours; None looks at the values.
        name: what the values are, for the colour bar.
    """
    values = weights.astype(np.float32)
    future = np.triu(np.ones(values.shape, dtype=bool), k=1)
    missing = np.isnan(values) & ~future
    shown = np.where(future | np.isnan(values), np.nan, values).astype(np.float32)
    signed = is_signed(shown) if signed is None else signed
    note = f"<br>{int(missing.sum())} not a number (grey)" if missing.any() else ""
    figure = go.Figure()
    figure.add_trace(
        go.Heatmap(
            z=shown,
            coloraxis="coloraxis",
            hoverongaps=False,
            hovertemplate="%{y} reads %{x}<br>%{z:.4g}<extra></extra>",
        )
    )
    if missing.any():
        figure.add_trace(
            go.Heatmap(
                z=np.where(missing, 1.0, np.nan).astype(np.float32),
                colorscale=[[0, MISSING], [1, MISSING]],
                showscale=False,
                hoverongaps=False,
                hovertemplate="%{y} reads %{x}<br>not a number<extra></extra>",
            )
        )
    figure.add_trace(_future_hatch(values.shape[0], values.shape[1]))
    figure.update_layout(
        coloraxis=colour_axis(shown, signed, f"{name}{note}"),
        xaxis={**_token_axis(tokens, factor), "title": "is read", "side": "bottom", "constrain": "domain"},
        yaxis={
            **_token_axis(tokens, factor),
            "title": "reads",
            "autorange": "reversed",
            "scaleanchor": "x",
            "constrain": "domain",
            "constraintoward": "top",
        },
        **plain_layout(),
    )
    return figure


def colour_axis(values: Float[np.ndarray, "*shape"], signed: bool, title: str) -> dict[str, Any]:
    """A Plotly colour axis: symmetric and diverging for signed values, from zero up for unsigned ones."""
    bar = {"orientation": "h", "thickness": 10, "len": 0.9, "y": 1.02, "yanchor": "bottom", "tickfont": {"size": 10}}
    if signed:
        limit, clipped = signed_limit(values)
        if clipped:
            title = f"{title}; {clipped:.1%} clipped at ±{limit:.3g}"
        return {
            "colorscale": SIGNED,
            "cmin": -limit,
            "cmax": limit,
            "cmid": 0,
            "colorbar": {**bar, "title": {"text": title, "side": "top", "font": {"size": 11}}},
        }
    return {
        "colorscale": unsigned_scale(dark=False),
        "cmin": 0,
        "cmax": unsigned_limit(values),
        "colorbar": {**bar, "title": {"text": title, "side": "top", "font": {"size": 11}}},
    }


GRID: dict[str, Any] = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "automargin": True}
"""An axis whose grid is seen on a light and on a dark page."""


def plain_layout() -> dict[str, Any]:
    """Layout shared by every figure: no template, a see-through background, room for nothing but the plot.

    ``meta["dark_scale"]`` is what a dark page puts in the place of an unsigned colour scale.
    """
    return {
        "meta": {"dark_scale": unsigned_scale(dark=True)},
        "template": "none",
        "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "hoverlabel": {"font": {"size": 12}},
        "dragmode": False,  # a finger that scrolls the page must not zoom the plot
    }


def _token_axis(tokens: Sequence[str], factor: int) -> dict[str, Any]:
    """Ticks at token positions: every token where they fit, else evenly spaced ones with their index."""
    starts = range(0, len(tokens), factor)
    every = max(1, -(-len(starts) // MOST_TICKS))
    chosen = [pixel for pixel in range(len(starts)) if pixel % every == 0]
    thinned = every > 1 or factor > 1
    text = [(f"{starts[pixel]} " if thinned else "") + token_label(tokens[starts[pixel]]) for pixel in chosen]
    return {
        "tickmode": "array",
        "tickvals": chosen,
        "ticktext": text,
        "tickfont": {"size": 10},
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
        "ticks": "",
    }


def _future_hatch(rows: int, columns: int) -> go.Scatter:
    """A staircase over the cells above the diagonal, hatched."""
    x: list[float] = []
    y: list[float] = []
    for row in range(min(rows, columns)):
        x += [row + 0.5, row + 0.5]
        y += [row - 0.5, row + 0.5]
    x += [columns - 0.5, columns - 0.5]
    y += [y[-1] if y else -0.5, -0.5]
    return go.Scatter(
        x=x,
        y=y,
        mode="none",
        fill="toself",
        fillpattern={"shape": "/", "fgcolor": HATCH, "bgcolor": "rgba(0,0,0,0)", "size": 6, "fillmode": "replace"},
        hoverinfo="skip",
        showlegend=False,
    )
