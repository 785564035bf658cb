"""What an ablation did, on one metric: bars beside random controls, prompt by prompt, and in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.app.views.ablation_study import DRAWS, Measured
from workbench.figures import error_bars, plain_layout
from workbench.figures.tokens import escape_label

MOST_BARS = 12
"""Bars of single components; of more, those with the largest effects."""

BAR, GREY, DOT = "#AA4499", "rgba(128,128,128,0.75)", "#AA4499"


@dataclass(frozen=True)
class Effect:
    """One bar: an edit's mean effect over prompts, with its 95 % interval (NaN without) and that of every prompt."""

    label: str
    value: float
    low: float
    high: float
    prompts: tuple[float, ...]


@dataclass(frozen=True)
class Beside:
    """What one entry of the study found, on one metric.

    Attributes:
        together: all components of the entry at once.
        alone: each by itself; empty where there is only one.
        controls: mean effect of each random control, as many other components at once.
        p: share of the sets, this one among them, that do as much either way; NaN without controls.
        baseline: the metric without an edit.
    """

    together: Effect
    alone: tuple[Effect, ...]
    controls: tuple[float, ...]
    p: float
    baseline: float


def shown_of(measured: Measured, metric: str) -> list[Beside]:
    """The bars of every entry of the study, on one metric."""
    rows = measured.effects[measured.effects["metric"] == metric]
    units = measured.units[measured.units["metric"] == metric]
    return [
        _beside(rows[rows["family"] == entry.name], units[units["family"] == entry.name])
        for entry in measured.study.edits
    ]


def _beside(rows: pd.DataFrame, units: pd.DataFrame) -> Beside:
    own = rows[rows["control_of"].isna()]
    whole = own.iloc[int(own["size"].to_numpy().argmax())] if len(own) > 1 else own.iloc[0]
    alone = own[own["label"] != whole["label"]]
    largest = alone.iloc[np.argsort(-alone["effect"].abs().to_numpy(), kind="stable")[:MOST_BARS]].sort_index()
    drawn = rows[rows["control_of"] == whole["label"]]["effect"].dropna()
    return Beside(
        together=_effect(whole, units),
        alone=tuple(_effect(row, units) for _, row in largest.iterrows()),
        controls=tuple(float(effect) for effect in drawn),
        p=float(whole["p_controls"]),
        baseline=float(whole["baseline"]),
    )


def _effect(row: pd.Series, units: pd.DataFrame) -> Effect:
    mine = units[(units["label"] == row["label"]) & units["control_of"].isna()]
    return Effect(
        label=str(row["label"]),
        value=float(row["effect"]),
        low=float(row["low"]),
        high=float(row["high"]),
        prompts=tuple(float(effect) for effect in mine["effect"]),
    )


UNITS = {
    "loss": "nats",
    "accuracy": "share of scored positions",
    "probability": "probability",
    "entropy": "nats",
    "kl": "nats",
    "top1_change": "share of scored positions",
    "logit_difference": "logits",
    "preference": "share of scored positions",
}


def effect_figure(shown: list[Beside], metric: str) -> go.Figure:
    """Bars with intervals, a dot a prompt, and the random controls of each set beside it."""
    figure = go.Figure()
    ticks: list[str] = []
    bars: list[tuple[int, Effect]] = []
    grey_x: list[float] = []
    grey_y: list[float] = []
    for beside in shown:
        bars.append((len(ticks), beside.together))
        ticks.append(_short(beside.together.label))
        if beside.controls:
            spread = np.linspace(-0.25, 0.25, len(beside.controls)) if len(beside.controls) > 1 else np.zeros(1)
            grey_x += (len(ticks) + spread).tolist()
            grey_y += beside.controls
            ticks.append("random controls")
        for effect in beside.alone:
            bars.append((len(ticks), effect))
            ticks.append(f"{_short(effect.label)} alone")
    values = [effect.value for _, effect in bars]
    whiskers = error_bars(
        values, [e.low for _, e in bars], [e.high for _, e in bars], color="rgba(128,128,128,1)", thickness=1.5, width=5
    )
    figure.add_bar(
        x=[place for place, _ in bars],
        y=values,
        width=0.5,
        marker={"color": BAR},
        error_y=whiskers,
        name="mean and 95 % interval",
        text=[escape_label(effect.label) for _, effect in bars],
        textposition="none",
        hovertemplate="%{text}: %{y:+.3g}<extra></extra>",
    )
    dots = [(place, value) for place, effect in bars for value in effect.prompts]
    figure.add_scatter(
        x=[place + 0.34 for place, _ in dots],
        y=[value for _, value in dots],
        mode="markers",
        marker={"size": 5, "color": DOT},
        name="a prompt",
        hovertemplate="one prompt: %{y:+.3g}<extra></extra>",
    )
    if grey_x:
        figure.add_scatter(
            x=grey_x,
            y=grey_y,
            mode="markers",
            marker={"size": 7, "color": GREY, "symbol": "diamond"},
            name="a random set of as many others",
            hovertemplate="random set: %{y:+.3g}<extra></extra>",
        )
    layout = plain_layout()
    figure.update_layout(
        **layout,
        height=420,
        barmode="overlay",
        xaxis={
            "tickmode": "array",
            "tickvals": list(range(len(ticks))),
            "ticktext": [escape_label(tick) for tick in ticks],
            "automargin": True,
            "showgrid": False,
            "zeroline": False,
            "range": [-0.6, max(2.0, len(ticks)) - 0.4],
        },
        yaxis={
            "title": f"change of {metric.replace('_', ' ')} ({UNITS.get(metric, '')})",
            "zerolinecolor": "rgba(128,128,128,0.8)",
            "automargin": True,
        },
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def _short(label: str) -> str:
    parts = label.split(" + ")
    return label if len(parts) <= 2 else f"all {len(parts)} together"


def in_words(beside: Beside, metric: str, method: str) -> str:
    """What came out, in a sentence or two."""
    one = beside.together
    unit = {"nats": " nats", "logits": ""}.get(UNITS.get(metric, ""), "")
    said = (
        f"Without {one.label} ({method} ablation), {metric.replace('_', ' ')} goes from {beside.baseline:.3g} to "
        f"{beside.baseline + one.value:.3g}: {one.value:+.3g}{unit}"
    )
    if np.isfinite(one.low):
        said += f" (95 % interval {one.low:+.3g} to {one.high:+.3g}, {len(one.prompts)} prompts)"
    said += "."
    if beside.controls:
        sets = len(beside.controls)
        said += (
            f" {sets} random set{'s' if sets > 1 else ''} of as many other components: "
            f"{min(beside.controls):+.3g} to {max(beside.controls):+.3g} "
            + (f"(p = {beside.p:.2g})." if sets >= DRAWS else "(too few for a p of 0.05).")
        )
    return said
