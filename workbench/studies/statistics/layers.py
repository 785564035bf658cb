"""Effects by layer: what models of different depth can be compared by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from workbench.studies.statistics.effects import mean_of_groups
from workbench.studies.statistics.interactions import JOIN
from workbench.studies.statistics.resampling import draw_counts, intervals
from workbench.studies.statistics.results import Results
from workbench.studies.statistics.samples import Sample, judged_split, make_samples

COLUMNS = ["model", "family", "metric", "layer", "share", "edits", "effect", "low", "high", "n"]


def layers_table(results: Results) -> pd.DataFrame:
    """Mean effect of the edits of each layer, those of one target (pairs and controls are left out).

    Returns:
        One row a model, family, metric and layer: ``share``, how deep the layer lies (0 the first, 1 the
        model's last); ``edits``, how many are averaged; their mean ``effect`` with ``low`` and ``high``
        over ``n`` prompt groups.
    """
    parts = [part for sample in _samples(results) for part in [_rows(sample, results)] if len(part)]
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def depths(results: Results) -> dict[str, int]:
    """Layers of each model, as planned; where the plan does not say, as many as the study edits."""
    deepest = results.frame.groupby("model", sort=False, observed=True)["layer"].max()
    edited = {str(model): int(layer) + 1 for model, layer in deepest.items()}
    planned = {str(one["model"]): int(one["layers"]) for one in results.plan.get("models", [])}
    return {**edited, **planned}


def _samples(results: Results) -> list[Sample]:
    return make_samples(results.frame, judged_split(results.frame))


def _rows(sample: Sample, results: Results) -> pd.DataFrame:
    edits = sample.edits
    single = ~sample.is_control & ~edits["label"].str.contains(JOIN, regex=False).to_numpy(dtype=bool)
    last = max(1, depths(results)[sample.model] - 1)
    study = results.study
    counts = draw_counts(len(sample.groups), study.statistics.resamples, study.seed)
    keys, means, sizes = [], [], []
    for (family, layer), rows in edits[single].groupby(["family", "layer"], sort=False, observed=True):
        keys.append((str(family), int(str(layer))))
        # A layer's mean over its edits, in each group that has any of them.
        means.append(mean_of_groups(sample.effect[rows.index].T))
        sizes.append(len(rows))
    if not keys:
        return pd.DataFrame(columns=COLUMNS)
    values = np.stack(means)
    limits = intervals(values, counts, study.statistics.level, study.statistics.interval)
    table = pd.DataFrame(keys, columns=["family", "layer"]).assign(
        model=sample.model,
        metric=sample.metric,
        edits=sizes,
        effect=mean_of_groups(values),
        low=limits.low,
        high=limits.high,
        n=np.isfinite(values).sum(1),
    )
    table["share"] = table["layer"] / last
    return table.sort_values(["family", "layer"], kind="stable", ignore_index=True)
