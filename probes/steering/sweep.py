"""What a steering vector does at every strength, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
import torch
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.figures.maps import plain_layout
from workbench.interventions import Positions, Steer, SteeringVector
from workbench.model import HookedModel
from workbench.probes.linear.places import At
from workbench.probes.patching.comparison import Comparison
from workbench.probes.patching.metric import Metric
from workbench.progress import tracked
from workbench.tasks import Task, bootstrap_means
from workbench.wrapping import ModelInput


@checked_call
def steering_sweep(
    model: HookedModel,
    run: Task | ModelInput,
    vector: SteeringVector | Tensor,
    alphas: Sequence[float],
    metric: Metric | None = None,
    *,
    at: At | None = None,
    positions: Positions = None,
    norm: str = "raw",
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """A metric of the steered run at each strength, and its change from the unsteered one.

    Args:
        run: texts, tokens, or a task.
        vector, at, positions, norm: as in `Steer`.
        alphas: strengths.
        metric: from logits to one number a sequence; by default a task's `answer_metric`.

    Returns:
        One row a strength: ``alpha``, ``value`` with ``value_low`` and ``value_high``, and ``effect`` (steered less
        unsteered, sequence by sequence) with ``low`` and ``high``.

    Raises:
        InputError: no strengths, or what `Steer` refuses.
    """
    if not len(alphas):
        raise InputError("The list of strengths is empty.")
    pair = Comparison.of(model, run, run, metric)
    before = pair.value()
    values = []
    for alpha in tracked(list(alphas), progress, "steering"):
        edit = Steer(vector, at, float(alpha), positions, norm=norm)
        values.append(pair.value(edit.hooks(model, pair.tokens, pair.mask)))
    steered = torch.stack(values, dim=1)
    table = pd.DataFrame({"alpha": [float(alpha) for alpha in alphas]})
    for names, columns in (
        (("value", "value_low", "value_high"), steered),
        (("effect", "low", "high"), steered - before[:, None]),
    ):
        for name, numbers in zip(names, bootstrap_means(columns, level=level), strict=True):
            table[name] = numbers.tolist()
    return table


@checked_call
def steering_figure(table: pd.DataFrame, metric: str = "metric") -> go.Figure:
    """The metric against the strength, with its interval as a band.

    Args:
        table: what `steering_sweep` returned.
        metric: what the metric is called on the axis.
    """
    ordered = table.sort_values("alpha")
    there_and_back = [*ordered["alpha"], *reversed(ordered["alpha"].tolist())]
    band = [*ordered["value_high"], *reversed(ordered["value_low"].tolist())]
    figure = go.Figure(
        [
            go.Scatter(
                x=there_and_back,
                y=band,
                fill="toself",
                line={"width": 0},
                fillcolor="rgba(170,68,153,0.2)",
                hoverinfo="skip",
                showlegend=False,
            ),
            go.Scatter(
                x=ordered["alpha"],
                y=ordered["value"],
                mode="lines+markers",
                line={"color": "#AA4499"},
                hovertemplate=f"alpha %{{x}}<br>{metric} %{{y:.3f}}<extra></extra>",
                showlegend=False,
            ),
        ]
    )
    axis = {"showgrid": False, "automargin": True}
    figure.update_layout(xaxis={**axis, "title": "alpha"}, yaxis={**axis, "title": metric}, **plain_layout())
    return figure
