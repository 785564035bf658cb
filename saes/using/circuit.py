"""Circuits of features: which features carry a behaviour, and which of them act through which (Marks et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.patching import Metric
from workbench.probes.patching.comparison import Comparison
from workbench.progress import tracked
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.using.places import ERROR, Gradients, Place, Readings, places_of, read_places
from workbench.tasks import Task, bootstrap_means
from workbench.tokens import check_choice
from workbench.wrapping import ModelInput

Method: TypeAlias = Literal["gradient", "integrated"]
METRIC = "metric"


@dataclass(frozen=True, eq=False)
class FeatureCircuit:
    """Features and errors by their effect on a metric, and edges between them; `feature_circuit` makes one.

    Attributes:
        nodes: one row a node, the largest effect first: ``place`` (hook), ``feature`` (-1 is what the autoencoder does
            not explain), ``position`` (-1 for all together), ``effect`` (estimate of the metric with the node replaced
            less the metric), ``low`` and ``high`` over sequences, ``activation`` (its mean in the run).
        edges: ``source``, ``source_feature``, ``source_position``, ``target``, ``target_feature``,
            ``target_position`` (``"metric"``, -1 and -1 where the edge ends there), ``effect``, ``low``, ``high``.
        pair: the runs and the metric.
        places: the autoencoders, in the order of the forward pass.
        own: what each autoencoder makes of the run.
        other: what a replaced node becomes: its activation in the other run, or 0.
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame
    pair: Comparison
    places: tuple[Place, ...]
    own: tuple[Readings, ...]
    other: tuple[Readings, ...]

    def table(self) -> pd.DataFrame:
        """The nodes."""
        return self.nodes

    def exact(self, count: int = 10, *, level: float = 0.95, progress: bool = False) -> pd.DataFrame:
        """The first nodes with their true effects; see `exact_effects`."""
        from workbench.saes.using.faithfulness import exact_effects

        return exact_effects(self, count, level=level, progress=progress)

    def faithfulness(self, sizes: Sequence[int] | None = None, *, replaced: str = "mean") -> pd.DataFrame:
        """How much of the metric the first nodes carry by themselves; see `circuit_faithfulness`."""
        from workbench.saes.using.faithfulness import circuit_faithfulness

        return circuit_faithfulness(self, sizes, replaced=replaced)

    def figure(self, nodes: int = 20, edges: int = 40) -> go.Figure:
        """The graph; see `circuit_figure`."""
        from workbench.saes.using.circuit_figure import circuit_figure

        return circuit_figure(self, nodes, edges)

    def __repr__(self) -> str:
        return f"FeatureCircuit({len(self.nodes)} nodes, {len(self.edges)} edges, {len(self.places)} autoencoders)"


def feature_circuit(
    model: HookedModel,
    saes: SparseAutoencoder | Sequence[SparseAutoencoder],
    run: Task | ModelInput,
    source: Task | ModelInput | None = None,
    metric: Metric | None = None,
    *,
    method: str = "gradient",
    steps: int = 10,
    nodes: int = 40,
    by_position: bool = False,
    edges: bool = True,
    level: float = 0.95,
    progress: bool = False,
) -> FeatureCircuit:
    """The features that a metric depends on, estimated for all of them at once by attribution patching.

    Marks et al. 2024, "Sparse Feature Circuits" (arXiv:2403.19647, sections 2 and 3): a node's effect is
    ``(its value in the other run - its value) x d metric / d node``; an edge's is the part of the source's effect on
    the target, times the target's on the metric, that goes through no other node: through no autoencoder between them,
    and, of a recurrent state, not through the state where it is read again. What an autoencoder does not explain is a
    node, too.

    Args:
        saes: one or several, anywhere in the model, transcoders included.
        run: texts, tokens, or a task (which brings padding and metric).
        source: the other run, position by position; None replaces features and errors by 0.
        metric: from logits to one number a sequence; by default a task's `answer_metric`.
        method: ``"gradient"``, at `run`; or ``"integrated"``: averaged over `steps` runs in which one autoencoder's
            features and error all lie between the two runs (their equation 3). The first estimates what a node does
            replaced alone; the second adds up, over the nodes of a place, to what replacing all of them does, which a
            saturated model needs.
        nodes: how many to keep, those of the largest effect.
        by_position: a node for each position; else effects are added up over positions.
        edges: False for the nodes alone.

    Raises:
        InputError: runs of different lengths, an autoencoder that does not fit, or a metric without a gradient.
    """
    check_choice("method", method, get_args(Method))
    if steps < 1 or nodes < 1:
        raise InputError(f"steps is {steps} and nodes {nodes}; both are at least 1.")
    pair = Comparison.of(model, run, run if source is None else source, metric)
    if pair.source.shape[1] != pair.tokens.shape[1]:
        raise InputError(
            f"The other run has {pair.source.shape[1]} positions and this one {pair.tokens.shape[1]}; "
            "features are compared position by position."
        )
    places = tuple(places_of(model, saes))
    own = tuple(read_places(model, places, pair.tokens, pair.mask))
    if source is None:
        other = tuple(replace(at, features=0 * at.features, error=0 * at.error) for at in own)
    else:
        other = tuple(read_places(model, places, pair.source, pair.source_mask))
    slopes = _slopes(pair, places, own, other, method, steps, progress)
    effects = [
        _per_node(place, mine, theirs, slope)
        for place, mine, theirs, slope in zip(places, own, other, slopes, strict=True)
    ]
    chosen = _largest(places, effects, nodes, by_position)
    table = chosen.copy()
    shown = torch.stack([_taken(effects[int(row.number)], row) for row in rows_of(chosen)], 1)
    for column, values in zip(("effect", "low", "high"), bootstrap_means(shown, level=level), strict=True):
        table[column] = values.tolist()
    table["activation"] = [_activation(own[int(row.number)], row) for row in rows_of(chosen)]
    between = pd.DataFrame()
    if edges:
        between = _edges(pair, places, own, other, slopes, chosen, level, progress)
    return FeatureCircuit(table.drop(columns=["number", "row"]), between, pair, places, own, other)


def _slopes(
    pair: Comparison,
    places: Sequence[Place],
    own: Sequence[Readings],
    other: Sequence[Readings],
    method: str,
    steps: int,
    progress: bool,
) -> list[Float[Tensor, "batch positions d_out"]]:
    """The gradient of the metric with respect to the vectors at each place."""
    if method == "gradient":
        run = Gradients(pair, places)
        return run.of(run.value)
    found = []
    for number, place in enumerate(tracked(places, progress, "integrating")):
        total: Tensor | float = 0.0
        for step in range(steps):
            part = (step + 0.5) / steps
            mine, theirs = own[number], other[number]
            way = Readings(
                mine.inputs,
                mine.features + part * (theirs.features - mine.features),
                mine.error + part * (theirs.error - mine.error),
            )
            run = Gradients(pair, places, vectors={number: place.decoded(way)})
            total = total + run.of(run.value, [number])[0] / steps
        assert isinstance(total, Tensor)  # there is at least one step
        found.append(total)
    return found


def _per_node(place: Place, own: Readings, other: Readings, slope: Tensor) -> Float[Tensor, "batch positions nodes"]:
    """Every node's difference times its gradient: the features, and last the error."""
    of_features = place.to_features(own, slope) * (other.features - own.features)
    of_error = (slope.to(own.error.dtype) * (other.error - own.error)).sum(-1, keepdim=True)
    return torch.cat([of_features, of_error], dim=-1)


def _largest(places: Sequence[Place], effects: Sequence[Tensor], count: int, by_position: bool) -> pd.DataFrame:
    """The nodes of the largest mean effect: number and name of the place, feature, position (-1 for all)."""
    rows = []
    for number, (place, effect) in enumerate(zip(places, effects, strict=True)):
        mean = effect.double().mean(0)
        mean = mean if by_position else mean.sum(0, keepdim=True)
        top = mean.abs().flatten().topk(min(count, mean.numel()))
        positions = list(place.writes.positions(1 + len(mean) * place.writes.every))
        for size, flat in zip(top.values.tolist(), top.indices.tolist(), strict=True):
            row, feature = divmod(flat, mean.shape[1])
            if size == 0:
                continue  # neither differs nor matters
            rows.append(
                {
                    "number": number,
                    "place": str(place),
                    "feature": ERROR if feature == mean.shape[1] - 1 else feature,
                    "position": positions[row] if by_position else -1,
                    "row": row if by_position else -1,
                    "size": size,
                }
            )
    if not rows:
        raise InputError("No feature and no error has an effect: the metric does not depend on these places.")
    table = pd.DataFrame(rows).sort_values("size", ascending=False, kind="stable").head(count)
    return table.drop(columns="size").reset_index(drop=True)


def _taken(effect: Float[Tensor, "batch positions nodes"], row: Any) -> Float[Tensor, " batch"]:
    """The effect of one node; number -1 finds the error, which comes last."""
    of_node = effect[..., row.feature]
    return of_node.sum(1) if row.row < 0 else of_node[:, row.row]


def _activation(own: Readings, row: Any) -> float:
    """Mean activation of a feature in the run, of an error its mean norm."""
    feature, at = int(row.feature), int(row.row)
    values = own.error.norm(dim=-1) if feature == ERROR else own.features[..., feature]
    return float((values if at < 0 else values[:, at]).mean())


def _edges(
    pair: Comparison,
    places: Sequence[Place],
    own: Sequence[Readings],
    other: Sequence[Readings],
    slopes: Sequence[Tensor],
    nodes: pd.DataFrame,
    level: float,
    progress: bool,
) -> pd.DataFrame:
    """Effects of nodes on later nodes, and on the metric, that go through no other place."""
    run = Gradients(pair, places, cut=True)
    names: list[dict[str, object]] = []
    found: list[Tensor] = []
    targets = [None, *(row for row in rows_of(nodes) if int(row.number) > 0)]
    for target in tracked(targets, progress, "edges"):
        last = len(places) if target is None else int(target.number)
        value = run.value if target is None else _weighted(run, places, slopes, own, target)
        if not value.requires_grad:
            continue  # nothing comes before it
        before = range(last)
        for number, slope in zip(before, run.of(value, before), strict=True):
            sources = [row for row in rows_of(nodes) if int(row.number) == number]
            if not sources:
                continue
            effect = _per_node(places[number], own[number], other[number], slope)
            for source in sources:
                names.append(
                    {
                        "source": source.place,
                        "source_feature": source.feature,
                        "source_position": source.position,
                        "target": METRIC if target is None else target.place,
                        "target_feature": ERROR if target is None else target.feature,
                        "target_position": -1 if target is None else target.position,
                    }
                )
                found.append(_taken(effect, source))
    if not found:
        return pd.DataFrame()
    table = pd.DataFrame(names)
    for column, values in zip(
        ("effect", "low", "high"), bootstrap_means(torch.stack(found, 1), level=level), strict=True
    ):
        table[column] = values.tolist()
    table = table[table["effect"] != 0]
    return table.sort_values("effect", key=abs, ascending=False, kind="stable").reset_index(drop=True)


def _weighted(
    run: Gradients, places: Sequence[Place], slopes: Sequence[Tensor], own: Sequence[Readings], target: Any
) -> Float[Tensor, " batch"]:
    """A node times its own gradient, as a function of what comes before it."""
    number, feature, at = int(target.number), int(target.feature), int(target.row)
    reading = run.readings(number)
    with torch.enable_grad():
        if feature == ERROR:
            values = (slopes[number].to(reading.error.dtype) * reading.error).sum(-1)
        else:
            weight = places[number].to_features(own[number], slopes[number])[..., feature]
            values = weight * reading.features[..., feature]
        return values.sum(1) if at < 0 else values[:, at]


def rows_of(table: pd.DataFrame) -> list[Any]:
    """Rows by the names of their columns."""
    return list(table.itertuples())
