"""Pictures of head scores: how they lie beside their nulls, layer by layer, and what ablating the best does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from workbench.app.views.heads import Check, Scores
from workbench.figures import ablation_bars
from workbench.figures.bars import Bar
from workbench.figures.colours import CONDITIONS
from workbench.figures.maps import GRID, plain_layout
from workbench.figures.tokens import escape_label

SORTED_FROM = 64
"""Layers of more heads are sorted in the map: the picture then shows how many do it."""

CALLED = {"baseline": "intact", "top": "without the best", "random": "without as many others"}

_DASHES = ("solid", "dash")


@dataclass(frozen=True)
class HeadGrid:
    """Heads as the cells of a picture.

    Attributes:
        values: the ranking measure, a row a mixer, the first at the bottom; NaN where there is no head.
        sites: of each cell; "" where there is no head.
        names: of each cell with its score and its null, for the read-out; "" where there is no head.
        above: whether the whole interval of a head lies above its null.
        rows: what the rows are called: ``"2"``, ``"2.mixer1"``.
        by_rank: whether each row is sorted, best first.
    """

    values: Float[np.ndarray, "rows columns"]
    sites: list[list[str]]
    names: list[list[str]]
    above: list[list[bool]]
    rows: list[str]
    by_rank: bool

    def place(self, site: str) -> tuple[int, int] | None:
        """Row and column of a head."""
        for row, sites in enumerate(self.sites):
            if site in sites:
                return row, sites.index(site)
        return None


def head_grid(scores: Scores, by: str) -> HeadGrid:
    """The layer x head map; layers of more than `SORTED_FROM` heads are sorted, best first."""
    mixers = list(scores.table.groupby(["layer", "mixer"], sort=True))
    widest = max(len(rows) for _, rows in mixers)
    by_rank = widest > SORTED_FROM
    values = np.full((len(mixers), widest), np.nan)
    sites, names, above, called = [], [], [], []
    for number, ((layer, mixer), rows) in enumerate(mixers):
        ordered = rows.sort_values(by, ascending=False, kind="stable") if by_rank else rows.sort_values("head")
        values[number, : len(ordered)] = ordered[by]
        empty = widest - len(ordered)
        sites.append([*map(str, ordered["site"]), *[""] * empty])
        numbers = zip(ordered["site"], ordered["score"], ordered["null"], strict=True)
        names.append(
            [*(f"{site} (score {score:.3f}, null {null:.3f})" for site, score, null in numbers), *[""] * empty]
        )
        above.append([*map(bool, ordered["low"] > ordered["null"]), *[False] * empty])
        called.append(f"{layer}.mixer{mixer}" if mixer else f"{layer}")
    return HeadGrid(values, sites, names, above, called, by_rank)


def against_null(several: Sequence[Scores]) -> go.Figure:
    """For every score, the share of heads that have at least it, and the share whose null has."""
    figure = go.Figure()
    for number, scores in enumerate(several):
        whose = f"{scores.model}: " if len(several) > 1 else ""
        for column, name, colour in (("score", "score", CONDITIONS[1]), ("null", "its 95 % null", CONDITIONS[0])):
            values = np.sort(scores.table[column].to_numpy(dtype=np.float64))
            share = 100 * (1 - np.arange(len(values)) / len(values))
            figure.add_trace(
                go.Scatter(
                    x=values,
                    y=share,
                    mode="lines",
                    name=escape_label(f"{whose}{name}"),
                    line={"shape": "vh", "color": colour, "dash": _DASHES[number % 2], "width": 2},
                    hovertemplate=f"%{{y:.2f}} % of the {scores.unit}s have %{{x:.3f}} or more<extra></extra>",
                )
            )
    figure.update_layout(
        xaxis={"title": "score", **GRID},
        yaxis={"title": "heads with at least that, %", "type": "log", "dtick": 1, **GRID},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        height=320,
        **plain_layout(),
    )
    return figure


def by_layer(scores: Scores) -> go.Figure:
    """Quartiles and extremes of the scores of every layer, and the middle of their nulls."""
    layers = list(scores.table.groupby("layer", sort=True))
    stacked = np.stack([np.quantile(rows["score"], [0, 0.25, 0.5, 0.75, 1]) for _, rows in layers])
    numbers = [layer for layer, _ in layers]
    lowest, first, middle, third, highest = stacked.T
    figure = go.Figure(
        go.Box(
            x=numbers,
            lowerfence=lowest,
            q1=first,
            median=middle,
            q3=third,
            upperfence=highest,
            name=f"{scores.unit}s",
            line={"color": CONDITIONS[1], "width": 1.5},
            fillcolor="rgba(170,68,153,0.25)",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=numbers,
            y=[float(rows["null"].median()) for _, rows in layers],
            mode="markers",
            marker={"symbol": "line-ew", "size": 18, "line": {"width": 3, "color": CONDITIONS[0]}},
            name="median of their 95 % nulls",
            hovertemplate="layer %{x}: %{y:.3f}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis={"title": "layer", "dtick": max(1, len(numbers) // 12), **GRID},
        yaxis={"title": "score", **GRID},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        height=320,
        **plain_layout(),
    )
    return figure


def above_by_depth(several: Sequence[Scores]) -> go.Figure:
    """Share of the heads of each layer above their null, over relative depth, so that models of any size compare."""
    figure = go.Figure()
    for number, scores in enumerate(several):
        table = scores.table
        share = (table["low"] > table["null"]).groupby(table["layer"]).mean().sort_index()
        figure.add_trace(
            go.Scatter(
                x=(share.index.to_numpy() + 0.5) / scores.layers,
                y=100 * share.to_numpy(),
                mode="lines+markers",
                name=escape_label(scores.model),
                line={"color": CONDITIONS[1 + number % 2], "dash": _DASHES[number % 2]},
                customdata=share.index,
                hovertemplate="layer %{customdata}: %{y:.1f} %<extra></extra>",
            )
        )
    figure.update_layout(
        xaxis={"title": "relative depth (0 first block, 1 last)", "range": [0, 1], **GRID},
        yaxis={"title": "heads above their null, %", "rangemode": "tozero", **GRID},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        height=300,
        **plain_layout(),
    )
    return figure


def check_figure(check: Check) -> go.Figure:
    """Bars of the causal check: accuracy and loss at each kind of position, with intervals."""
    bars = [
        Bar(
            panel="accuracy" if measure == "accuracy" else f"{measure} (nats)",
            group=label or "all",
            condition=CALLED[str(row["condition"])],
            value=float(row[column]),
            low=float(row[f"{column}_low"]),
            high=float(row[f"{column}_high"]),
        )
        for column, measure, label in measured(check.table)
        for _, row in check.table.iterrows()
    ]
    figure = ablation_bars(bars)
    figure.update_layout(height=340)
    return figure


def measured(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Columns of a causal check with an interval, each with its measure and the label of its positions ("" for all)."""
    columns = [str(name).removesuffix("_low") for name in table.columns if str(name).endswith("_low")]
    found = []
    for column in columns:
        measure, _, label = column.partition("_")
        found.append((column, measure, label))
    return sorted(found, key=lambda each: each[1] != "accuracy")
