"""Circuits held to the model: true effects of single nodes, and what a few nodes do when the rest is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import pandas as pd
import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.progress import tracked
from workbench.saes.using.circuit import FeatureCircuit, rows_of
from workbench.saes.using.places import ERROR, Kept, Readings, replacing
from workbench.tasks import bootstrap_means
from workbench.tokens import check_choice

Replaced: TypeAlias = Literal["mean", "zero", "source"]
SIZES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def exact_effects(
    circuit: FeatureCircuit, count: int = 10, *, level: float = 0.95, progress: bool = False
) -> pd.DataFrame:
    """The first nodes of a circuit, each replaced in a run of its own: what attribution estimates.

    Returns:
        The circuit's first `count` nodes with the columns ``exact``, ``exact_low`` and ``exact_high``: the metric with
        that node replaced less the metric. ``table["effect"].corr(table["exact"])`` says how good the estimate is.

    Raises:
        InputError: `count` below 1.
    """
    if count < 1:
        raise InputError(f"count is {count}; at least one node is checked.")
    table = circuit.nodes.head(count).copy()
    before = circuit.pair.value()
    effects = []
    for number in tracked(range(len(table)), progress, "replacing"):
        kept = [_inverted(one) for one in _kept(circuit, table.iloc[number : number + 1])]
        effects.append(_value(circuit, kept, circuit.other) - before)
    limits = bootstrap_means(torch.stack(effects, 1), level=level)
    for column, values in zip(("exact", "exact_low", "exact_high"), limits, strict=True):
        table[column] = values.tolist()
    return table


def circuit_faithfulness(
    circuit: FeatureCircuit,
    sizes: Sequence[int] | None = None,
    *,
    replaced: str = "mean",
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """How much of a metric the first nodes of a circuit carry, all else at their places replaced.

    Marks et al. 2024 (arXiv:2403.19647, section 3.3): ``faithfulness = (m(C) - m(none)) / (m(M) - m(none))`` with C
    the nodes, M the model and m the mean of the metric; ``completeness`` is the same of all nodes *but* C: near 0 where
    the circuit is complete.

    Args:
        sizes: numbers of nodes; by default 0, 1, 2, 5, 10, ... as far as the circuit has them.
        replaced: what a node outside becomes: its ``"mean"`` over the run's tokens, ``"zero"``, or what it is in the
            circuit's other run (``"source"``).

    Returns:
        One row a size: ``nodes``, ``metric`` (of the nodes alone), ``faithfulness`` and ``completeness``, each with
        ``_low`` and ``_high`` over sequences, the denominator held at its mean.

    Raises:
        InputError: an unknown replacement, or a metric that does not depend on the places at all.
    """
    check_choice("replaced", replaced, get_args(Replaced))
    most = len(circuit.nodes)
    chosen = [size for size in SIZES if size < most] + [most] if sizes is None else list(sizes)
    if not chosen or min(chosen) < 0 or max(chosen) > most:
        raise InputError(f"Sizes go from 0 to the circuit's {most} nodes; got {chosen}.")
    instead = [_replacement(circuit, number, replaced) for number in range(len(circuit.places))]
    whole = circuit.pair.value().double()
    none = _value(circuit, _kept(circuit, circuit.nodes.head(0)), instead).double()
    between = float((whole - none).mean())
    if between == 0:
        raise InputError("With all features and errors replaced the metric is what it was: nothing is left to explain.")
    columns: list[Tensor] = []
    for size in tracked(chosen, progress, "faithfulness"):
        kept = _kept(circuit, circuit.nodes.head(size))
        inside = _value(circuit, kept, instead).double()
        outside = _value(circuit, [_inverted(one) for one in kept], instead).double()
        columns += [inside, (inside - none) / between, (outside - none) / between]
    found = bootstrap_means(torch.stack(columns, 1), level=level)
    table = pd.DataFrame({"nodes": chosen})
    for place, name in enumerate(("metric", "faithfulness", "completeness")):
        for suffix, values in zip(("", "_low", "_high"), found, strict=True):
            table[name + suffix] = values[place::3].tolist()
    return table


def _value(circuit: FeatureCircuit, kept: Sequence[Kept], instead: Sequence[Readings]) -> Tensor:
    """The metric with all replaced that is not kept."""
    hooks = replacing(circuit.pair.model, circuit.places, kept, instead)
    return circuit.pair.value(hooks)


def _kept(circuit: FeatureCircuit, nodes: pd.DataFrame) -> list[Kept]:
    """What stays if only some nodes do."""
    found = []
    for place, own in zip(circuit.places, circuit.own, strict=True):
        positions = list(place.writes.positions(circuit.pair.tokens.shape[1]))
        features = torch.zeros(len(positions), own.features.shape[-1], dtype=torch.bool, device=own.features.device)
        error = torch.zeros(len(positions), dtype=torch.bool, device=own.features.device)
        for row in rows_of(nodes[nodes["place"] == str(place)]):
            at = slice(None) if row.position == -1 else positions.index(row.position)
            if row.feature == ERROR:
                error[at] = True
            else:
                features[at, row.feature] = True
        found.append(Kept(features, error))
    return found


def _inverted(kept: Kept) -> Kept:
    return Kept(~kept.features, ~kept.error)


def _replacement(circuit: FeatureCircuit, number: int, replaced: str) -> Readings:
    own, other, pair = circuit.own[number], circuit.other[number], circuit.pair
    if replaced == "source":
        return other
    if replaced == "zero":
        return Readings(own.inputs, 0 * own.features, 0 * own.error)
    positions = list(circuit.places[number].writes.positions(pair.tokens.shape[1]))
    real = torch.ones_like(own.features[..., 0]) if pair.mask is None else pair.mask[:, positions].to(own.features)
    share = (real / real.sum())[..., None]
    mean = [(share * tensor).sum((0, 1), keepdim=True) for tensor in (own.inputs, own.features, own.error)]
    return Readings(*mean)
