"""Pairs: what two edits do together beyond what they do one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from workbench.studies.statistics.effects import mean_of_groups, tested
from workbench.studies.statistics.resampling import draw_counts, intervals
from workbench.studies.statistics.results import Results
from workbench.studies.statistics.samples import Sample, judged_split, make_samples

JOIN = " + "
"""Between the targets of an edit's label."""

COLUMNS = [
    "model",
    "family",
    "metric",
    "label",
    "first",
    "second",
    "layer",
    "dose",
    "effect",
    "effect_first",
    "effect_second",
    "interaction",
    "low",
    "high",
    "n",
    "p",
    "q",
    "significant",
]


def interactions_table(results: Results) -> pd.DataFrame:
    """Interaction of every pair whose parts were edited singly, too, by the same method, dose and positions.

    Returns:
        One row a pair and metric: ``effect`` of both at once, ``effect_first`` and ``effect_second`` of each alone, all
        over the prompt groups that have the three; ``interaction`` = both - first - second with ``low`` and ``high``,
        from the same resamples. Negative where the two do the same work, so that the second costs nothing more; or
        positive where either stands in for the other, of a metric that edits raise. ``p`` is of a sign-flip test, ``q``
        corrected within model, family and metric. Empty where the study has no such pairs.
    """
    split = judged_split(results.frame)
    parts = [_rows(sample, results) for sample in make_samples(results.frame, split)]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True)[COLUMNS] if filled else pd.DataFrame(columns=COLUMNS)


def _rows(sample: Sample, results: Results) -> pd.DataFrame:
    triples = _triples(sample.edits)
    if not triples:
        return pd.DataFrame(columns=COLUMNS)
    both, first, second = (sample.effect[[triple[part] for triple in triples]] for part in range(3))
    interaction = both - first - second
    there = np.isfinite(interaction)
    study = results.study
    counts = draw_counts(len(sample.groups), study.statistics.resamples, study.seed)
    limits = intervals(interaction, counts, study.statistics.level, study.statistics.interval)
    edits = sample.edits.iloc[[triple[0] for triple in triples]].reset_index(drop=True)
    p, q = tested(interaction, edits["family"], study)
    names = [str(label).split(JOIN) for label in edits["label"]]
    return edits[["model", "family", "label", "layer", "dose"]].assign(
        metric=sample.metric,
        first=[name[0] for name in names],
        second=[name[1] for name in names],
        effect=mean_of_groups(np.where(there, both, np.nan)),
        effect_first=mean_of_groups(np.where(there, first, np.nan)),
        effect_second=mean_of_groups(np.where(there, second, np.nan)),
        interaction=mean_of_groups(interaction),
        low=limits.low,
        high=limits.high,
        n=there.sum(1),
        p=p,
        q=q,
        significant=q <= study.statistics.q,
    )


def _triples(edits: pd.DataFrame) -> list[tuple[int, int, int]]:
    """Rows of each pair and of its two parts; a part of the pair's own family goes before one of another."""
    own: dict[tuple[str, ...], int] = {}
    any_family: dict[tuple[str, ...], int] = {}
    pairs = []
    shown = edits.assign(dose=edits["dose"].map(str), positions=edits["positions"].map(str))
    for row, edit in enumerate(shown.to_dict(orient="records")):
        if not pd.isna(edit["control_of"]):
            continue
        how = (str(edit["method"]), edit["dose"], edit["positions"])
        label = str(edit["label"])
        names = label.split(JOIN)
        if len(names) == 1:
            own.setdefault((str(edit["family"]), label, *how), row)
            any_family.setdefault((label, *how), row)
        elif len(names) == 2:
            pairs.append((row, str(edit["family"]), names, how))
    found = []
    for row, family, names, how in pairs:
        singles = [own.get((family, name, *how), any_family.get((name, *how))) for name in names]
        if singles[0] is not None and singles[1] is not None:
            found.append((row, singles[0], singles[1]))
    return found
