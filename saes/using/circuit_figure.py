"""The picture of a feature circuit: a column a place, a dot a node, a line an edge."""

from __future__ import annotations

import plotly.graph_objects as go

from workbench.errors import InputError
from workbench.figures.colours import NEGATIVE, POSITIVE
from workbench.figures.maps import plain_layout
from workbench.figures.tokens import escape_label
from workbench.saes.using.circuit import METRIC, FeatureCircuit, rows_of
from workbench.saes.using.places import ERROR


def circuit_figure(circuit: FeatureCircuit, nodes: int = 20, edges: int = 40) -> go.Figure:
    """The strongest nodes and the strongest edges between them, depth from left to right, the metric at the right.

    A dot's size and a line's width are sizes of effects; vermillion raises the metric when the node is replaced, blue
    lowers it. Squares are what an autoencoder does not explain.

    Args:
        nodes, edges: how many of each at most.

    Raises:
        InputError: less than one node.
    """
    if nodes < 1:
        raise InputError(f"nodes is {nodes}; a picture shows at least one.")
    shown = circuit.nodes.head(nodes)
    columns = {str(place): number for number, place in enumerate(circuit.places)}
    at: dict[tuple[str, int, int], tuple[float, float]] = {(METRIC, ERROR, -1): (float(len(columns)), 0.0)}
    for place, some in shown.groupby("place", sort=False):
        for rank, row in enumerate(rows_of(some)):
            at[str(place), int(row.feature), int(row.position)] = (float(columns[str(place)]), -float(rank))
    figure = go.Figure()
    drawn = [
        row
        for row in rows_of(circuit.edges)
        if (row.source, row.source_feature, row.source_position) in at
        and (row.target, row.target_feature, row.target_position) in at
    ][:edges]
    widest = max((abs(row.effect) for row in drawn), default=1.0)
    for row in drawn:
        (x0, y0) = at[row.source, row.source_feature, row.source_position]
        (x1, y1) = at[row.target, row.target_feature, row.target_position]
        share = abs(row.effect) / widest
        figure.add_trace(
            go.Scatter(
                x=[x0, (x0 + x1) / 2, x1],
                y=[y0, (y0 + y1) / 2, y1],
                mode="lines",
                line={"width": 0.5 + 5 * share, "color": POSITIVE if row.effect > 0 else NEGATIVE},
                opacity=0.25 + 0.5 * share,
                hovertemplate=f"edge effect {row.effect:.4g} [{row.low:.3g}, {row.high:.3g}]<extra></extra>",
                showlegend=False,
            )
        )
    largest = float(shown["effect"].abs().max())
    for symbol, some in (
        ("circle", shown[shown["feature"] != ERROR]),
        ("square", shown[shown["feature"] == ERROR]),
    ):
        if some.empty:
            continue
        rows = rows_of(some)
        places = [at[row.place, row.feature, row.position] for row in rows]
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in places],
                y=[y for _, y in places],
                mode="markers+text",
                marker={
                    "symbol": symbol,
                    "size": [8 + 22 * (abs(effect) / largest) ** 0.5 for effect in some["effect"]],
                    "color": [POSITIVE if effect > 0 else NEGATIVE for effect in some["effect"]],
                    "line": {"width": 1, "color": "rgba(128,128,128,0.8)"},
                },
                text=[_name(row.feature, row.position) for row in rows],
                textposition="top center",
                hovertext=[
                    f"{escape_label(row.place)} {_name(row.feature, row.position)}<br>effect {row.effect:.4g} "
                    f"[{row.low:.3g}, {row.high:.3g}]<br>activation {row.activation:.3g}"
                    for row in rows
                ],
                hoverinfo="text",
                showlegend=False,
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[len(columns)],
            y=[0],
            mode="markers+text",
            marker={"symbol": "diamond", "size": 16, "color": "#7F7F7F"},
            text=[METRIC],
            textposition="top center",
            hoverinfo="skip",
            showlegend=False,
        )
    )
    plain = {"showgrid": False, "zeroline": False, "ticks": "", "automargin": True}
    figure.update_layout(
        xaxis={
            **plain,
            "tickmode": "array",
            "tickvals": list(columns.values()),
            "ticktext": [escape_label(name) for name in columns],
            "range": [-0.5, len(columns) + 0.5],
        },
        yaxis={**plain, "visible": False},
        **plain_layout(),
    )
    return figure


def _name(feature: int, position: int) -> str:
    name = "error" if feature == ERROR else str(feature)
    return name if position < 0 else f"{name} @{position}"
