"""Probes over layers and sites of a model: what can be read where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from workbench.arguments import checked_call
from workbench.errors import InputError, offer
from workbench.model import HookedModel
from workbench.probes.linear.activations import MOST_BYTES, Activations, collect_activations
from workbench.probes.linear.data import ProbeData
from workbench.probes.linear.evaluation import ProbeResult, evaluate_probe
from workbench.probes.linear.places import At, Place, places
from workbench.probes.linear.probe import Probe
from workbench.progress import tracked

Where = tuple[Place, int | None]


@dataclass(frozen=True, eq=False)
class ProbeSweep:
    """Probes at many places of one model.

    Attributes:
        model_name: of the model.
        kind: of the probes.
        results: by place and head (None for all heads together).
        features: how many numbers each of them read.
    """

    model_name: str
    kind: str
    results: dict[Where, ProbeResult]
    features: dict[Where, int]

    def table(self) -> pd.DataFrame:
        """One row a place, in the order of the layers.

        ``hook`` (canonical name), ``asked`` (its spelling), ``layer``, ``head`` (-1: all), ``kind``, ``features``, then
        the scores with ``_low`` and ``_high``, ``baseline``, ``rows`` and ``groups`` (see `ProbeResult.record`).
        """
        rows = [
            {
                "hook": place.name,
                "asked": place.hook,
                "layer": -1 if place.layer is None else place.layer,
                "head": -1 if head is None else head,
                "kind": self.kind,
                "features": self.features[place, head],
                **result.record(),
            }
            for (place, head), result in self.results.items()
        ]
        return pd.DataFrame(rows)

    def probe(self, name: str, head: int | None = None) -> Probe:
        """The probe at a hook, fitted on all rows. Raises InputError for a hook that was not probed."""
        found = next((r for (place, h), r in self.results.items() if place.name == name and h == head), None)
        if found is None:
            raise InputError(f"{name} was not probed; {offer(name, [place.name for place, _ in self.results])}.")
        return found.probe

    def best(self) -> ProbeResult:
        """The result with the highest accuracy or R². It was picked by held-out scores, so its own is a little high."""
        return max(self.results.values(), key=lambda result: result.score.mean)


@checked_call
def probe_sweep(
    model: HookedModel,
    data: ProbeData,
    at: At = "resid_post",
    layers: Sequence[int] | int | None = None,
    kind: str = "logistic",
    *,
    per_head: bool = False,
    control: bool = False,
    folds: int = 5,
    penalty: float | Sequence[float] | None = None,
    batch: int = 16,
    most_bytes: int = MOST_BYTES,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> ProbeSweep:
    """Probe every asked-for hook of every asked-for layer for the same labels, with the same groups held out.

    Args:
        at, layers: as in `places`; ``"state"`` is the recurrent state after the labelled token, flattened.
        per_head: one probe a head, of hooks that have heads; sites that are heads have one each in any case.
        control: also score a control task by `ProbeData.types`, and the selectivity.
        folds, penalty: as in `evaluate_probe`.
        batch, most_bytes: as in `collect_activations`.

    Raises:
        InputError: as `places`, `collect_activations` and `evaluate_probe`; heads of a hook that has none.
    """
    wanted = places(model, at, layers)
    read = collect_activations(model, data, at, layers, batch=batch, most_bytes=most_bytes, progress=progress)
    parts: list[tuple[Where, Activations]] = []
    for place in wanted:
        whole = read[place.name]
        if per_head and len(whole.shape) < 2:
            whole.head(0)  # refuses, with the reason
        if place.heads is None and not per_head:
            parts.append(((place, None), whole))
            continue
        named = place.heads or range(whole.shape[0])
        parts.extend(((place, head), whole.head(index)) for index, head in enumerate(named))
    results: dict[Where, ProbeResult] = {}
    for where, part in tracked(parts, progress, "fitting probes"):
        results[where] = evaluate_probe(
            part.values,
            data.labels,
            kind,
            groups=data.groups,
            folds=folds,
            types=data.types if control else None,
            penalty=penalty,
            hook=where[0].name,
            model_name=model.cfg.model_name,
            level=level,
            seed=seed,
        )
    return ProbeSweep(model.cfg.model_name, kind, results, {where: part.values.shape[1] for where, part in parts})
