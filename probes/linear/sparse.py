"""k-sparse probes: how many units does it take (Gurnee et al. 2023, "Finding Neurons in a Haystack")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from workbench.errors import InputError
from workbench.probes.linear.data import label_array
from workbench.probes.linear.evaluation import ProbeResult, evaluate
from workbench.probes.linear.fitting import check_values, checked_labels, fit_probe, standardise
from workbench.probes.linear.holdout import grouped_folds
from workbench.probes.linear.probe import Probe
from workbench.probes.linear.selection import select_units

KS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, eq=False)
class SparseSweep:
    """Scores of k-sparse probes by k.

    Attributes:
        results: by k; ``results[k].probe.units`` are the units chosen on all rows, best first.
        stability: by k, the mean share of these units that a fold chose as well, from its training rows alone.
        selection: how units were chosen.
    """

    results: dict[int, ProbeResult]
    stability: dict[int, float]
    selection: str

    def table(self) -> pd.DataFrame:
        """One row a k: ``k``, ``units``, ``stability``, then the scores with their intervals."""
        rows = [
            {"k": k, "units": result.probe.units, "stability": self.stability[k], **result.record()}
            for k, result in self.results.items()
        ]
        return pd.DataFrame(rows)


def sparse_sweep(
    values: Float[np.ndarray, "rows features"],
    labels: Any,
    kind: str = "logistic",
    *,
    ks: Sequence[int] | None = None,
    selection: str = "mean_difference",
    groups: Any = None,
    folds: int = 5,
    penalty: float | Sequence[float] | None = 1.0,
    hook: str = "",
    model_name: str = "",
    level: float = 0.95,
    seed: int = 0,
) -> SparseSweep:
    """Choose k units on the training rows, fit a probe on them alone, test it on groups held out; for several k.

    Args:
        ks: 1, 2, 4, ... up to 256 by default, as far as there are units.
        selection: as in `select_units`.
        labels, kind, groups, folds, penalty: as in `evaluate_probe`.

    Raises:
        InputError: a k above the number of units or given twice; see `evaluate_probe` for the rest.
    """
    answers = checked_labels(label_array(labels), kind)
    check_values(values, len(answers))
    of_rows = np.arange(len(answers)) if groups is None else np.asarray(groups)
    wanted = [k for k in KS if k <= values.shape[1]] if ks is None else [int(k) for k in ks]
    if not wanted or len(set(wanted)) < len(wanted):
        raise InputError(f"Each k is given once, at least one; got {wanted}.")
    parts = grouped_folds(of_rows, folds, seed)
    chosen: dict[bytes, dict[int, Int[np.ndarray, " k"]]] = {}

    def units(train: Int[np.ndarray, " train"]) -> dict[int, Int[np.ndarray, " k"]]:
        # Nested selections cost as much for one k as for all, so each set of rows is judged once.
        key = train.tobytes()
        if key not in chosen:
            chosen[key] = select_units(standardise(values[train])[1], answers[train], kind, wanted, selection, seed)
        return chosen[key]

    results: dict[int, ProbeResult] = {}
    stability: dict[int, float] = {}
    for k in wanted:

        def fit(train: Int[np.ndarray, " train"], k: int = k) -> Probe:
            return fit_probe(
                values[train],
                answers[train],
                kind,
                penalty=penalty,
                groups=of_rows[train],
                units=units(train)[k].tolist(),
                hook=hook,
                model_name=model_name,
                seed=seed,
            )

        results[k] = evaluate(fit, values, answers, of_rows, parts, level=level, seed=seed)
        of_all = set(results[k].probe.units or ())
        stability[k] = float(np.mean([len(of_all & set(units(train)[k].tolist())) / k for train, _ in parts]))
    return SparseSweep(results, stability, selection)
