"""State trajectories in their principal components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Trajectories:
    """States along texts, in the directions in which they vary most.

    Attributes:
        projected: coordinates of each state.
        mean: what was taken off before.
        directions: orthonormal principal directions, one a row, the widest first.
        explained: share of the variance along each direction.
        dimension: participation ratio of the covariance's eigenvalues, ``(sum e)^2 / sum e^2``: how many directions
            the states fill.
    """

    projected: Float[Tensor, "batch time components"]
    mean: Float[Tensor, " dim"]
    directions: Float[Tensor, "components dim"]
    explained: Float[Tensor, " components"]
    dimension: float

    def project(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch components"]:
        """Coordinates of other states, such as fixed points."""
        coordinates: Tensor = (states - self.mean) @ self.directions.T
        return coordinates

    def table(self) -> pd.DataFrame:
        """One row a state: ``sequence``, ``step``, ``pc1``, ``pc2``, ...."""
        batch, time, components = self.projected.shape
        flat = self.projected.flatten(0, 1)
        columns = {f"pc{number + 1}": flat[:, number].tolist() for number in range(components)}
        sequence = [row for row in range(batch) for _ in range(time)]
        return pd.DataFrame({"sequence": sequence, "step": [*range(time)] * batch, **columns})


def principal_trajectories(states: Float[Tensor, "batch time dim"], components: int = 3) -> Trajectories:
    """Principal components of states, all sequences and steps together.

    Raises:
        InputError: more components than numbers or states, or none.
    """
    flat = states.detach().double().flatten(0, 1).cpu()
    most = min(flat.shape)
    if not 1 <= components <= most:
        raise InputError(
            f"{len(flat)} states of {flat.shape[1]} numbers have 1 to {most} components; got {components}."
        )
    mean = flat.mean(0)
    _, sizes, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    variance = sizes.square()
    total = variance.sum().clamp_min(torch.finfo(torch.float64).tiny)
    chosen = directions[:components]
    # The sign of a direction is nobody's; the largest entry positive makes pictures repeatable.
    largest = chosen.gather(1, chosen.abs().argmax(1, keepdim=True))
    chosen = chosen * largest.sign()
    return Trajectories(
        ((flat - mean) @ chosen.T).unflatten(0, states.shape[:2]),
        mean,
        chosen,
        variance[:components] / total,
        float(total**2 / variance.square().sum().clamp_min(torch.finfo(torch.float64).tiny)),
    )


def trajectory_figure(
    trajectories: Trajectories,
    *,
    labels: Int[Tensor, "batch time"] | None = None,
    label_names: Sequence[str] | None = None,
    points: Float[Tensor, "points dim"] | None = None,
    point_names: Sequence[str] | None = None,
    sequences: int = 8,
) -> go.Figure:
    """The first two or three components as lines, a sequence each, with fixed points as crosses.

    Args:
        labels: a class of each state (the hidden state of what made the text), shown as the colour of its marker.
        label_names: what the classes are called.
        points: states to mark, such as ``FixedPoints.points``.
        point_names: what they are called on hovering.
        sequences: how many trajectories are drawn.

    Raises:
        InputError: fewer than two components.
    """
    import plotly.graph_objects as go

    from workbench.figures.colours import CONDITIONS, POSITIVE
    from workbench.figures.maps import plain_layout
    from workbench.figures.tokens import escape_label

    components = trajectories.projected.shape[2]
    if components < 2:
        raise InputError("A picture of trajectories needs two components or more.")
    axes = "xyz"[: min(3, components)]
    scatter = go.Scatter3d if len(axes) == 3 else go.Scatter

    def places(coordinates: Float[Tensor, "points components"]) -> dict[str, list[float]]:
        return {axis: coordinates[:, number].tolist() for number, axis in enumerate(axes)}

    figure = go.Figure()
    shown = trajectories.projected[:sequences]
    for row, coordinates in enumerate(shown):
        figure.add_trace(
            scatter(
                **places(coordinates),
                mode="lines",
                line={"width": 1, "color": "rgba(128,128,128,0.6)"},
                name=f"sequence {row}",
                hovertemplate=f"sequence {row}, step %{{customdata}}<extra></extra>",
                customdata=list(range(len(coordinates))),
                showlegend=False,
            )
        )
    if labels is not None:
        flat, classes = shown.flatten(0, 1), labels[:sequences].flatten().cpu()
        for label in sorted(set(classes.tolist())):
            named = str(label) if label_names is None else label_names[label]
            figure.add_trace(
                scatter(
                    **places(flat[classes == label]),
                    mode="markers",
                    marker={"size": 3, "color": CONDITIONS[label % len(CONDITIONS)]},
                    name=escape_label(named),
                )
            )
    if points is not None and len(points):
        names = [f"point {number}" for number in range(len(points))] if point_names is None else [*point_names]
        figure.add_trace(
            scatter(
                **places(trajectories.project(points.double().cpu())),
                mode="markers",
                marker={"size": 7, "symbol": "x", "color": POSITIVE},
                name="fixed points",
                text=[escape_label(name) for name in names],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    titles = [f"PC{number + 1} ({float(trajectories.explained[number]):.0%})" for number in range(len(axes))]
    named_axes = {f"{axis}axis": {"title": title} for axis, title in zip(axes, titles, strict=True)}
    figure.update_layout(**plain_layout())
    figure.update_layout({"scene": named_axes, "dragmode": "orbit"} if len(axes) == 3 else named_axes)
    return figure
