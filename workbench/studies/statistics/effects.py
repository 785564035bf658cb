"""The table of effects: one row an edit and metric, with interval, test, controls and what is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.studies.schema.study import Study
from workbench.studies.statistics.controls import add_control_ranks
from workbench.studies.statistics.discoveries import benjamini_hochberg
from workbench.studies.statistics.ratios import ratios_of_means
from workbench.studies.statistics.resampling import draw_counts, intervals
from workbench.studies.statistics.results import Results
from workbench.studies.statistics.samples import EDIT_COLUMNS, KEY, Sample, judged_split, make_samples
from workbench.studies.statistics.sign_flips import sign_flip_p

FAMILY = ["model", "family", "metric"]
"""Tests that are corrected together."""

COLUMNS = [
    *EDIT_COLUMNS,
    "round",
    "metric",
    "split",
    "baseline",
    "value",
    "effect",
    "low",
    "high",
    "interval",
    "n",
    "prompts",
    "missing",
    "p",
    "q",
    "significant",
    "discover",
    "rank",
    "restored",
    "restored_low",
    "restored_high",
    "controls",
    "control_low",
    "control_high",
    "p_controls",
]


def effects_table(results: Results) -> pd.DataFrame:
    """Effects of all edits of a study, random controls included.

    Returns:
        One row an edit and metric: what the edit is (`EDIT_COLUMNS`), ``baseline``, ``value`` and ``effect`` (mean over
        prompt groups of edited less baseline, in the metric's units) with ``low``, ``high`` and the kind of
        ``interval``; ``n`` groups and ``prompts`` with a finite effect, ``missing`` prompts without; ``p`` of a
        sign-flip test and ``q``, corrected within model, family and metric (NaN for controls, which are no hypotheses,
        and for `distances`); ``significant`` where q is at most the study's. Of a study with a split all of that is
        measured on the prompts to confirm with; ``discover`` is the effect on those to discover with, and ``rank`` goes
        by it, so that an edit is not shown first for its luck. ``restored`` is the ratio of means of `ratios_of_means`
        where prompts have corrupt versions. ``controls`` and what follows: see `add_control_ranks`.
    """
    frame, study = results.frame, results.study
    split = judged_split(frame)
    table = pd.concat(
        [_rows(sample, study) for sample in make_samples(frame, split)] or [pd.DataFrame(columns=COLUMNS)],
        ignore_index=True,
    )
    table["discover"] = _discovered(frame, table) if split == "confirm" else np.nan
    table["rank"] = _ranks(table, "discover" if split == "confirm" else "effect")
    return add_control_ranks(table).reindex(columns=COLUMNS)


def _rows(sample: Sample, study: Study) -> pd.DataFrame:
    asked = study.statistics
    counts = draw_counts(len(sample.groups), asked.resamples, study.seed)
    limits = intervals(sample.effect, counts, asked.level, asked.interval)
    ratios = ratios_of_means(sample.value, sample.baseline, sample.corrupt, counts, asked.level)
    hypotheses = sample.edits["family"].mask(sample.is_control)
    if sample.metric in distances(study):
        hypotheses = hypotheses.mask(np.ones(len(hypotheses), dtype=bool))
    p, q = tested(sample.effect, hypotheses, study)
    return sample.edits.assign(
        metric=sample.metric,
        split=sample.split,
        baseline=mean_of_groups(sample.baseline),
        value=mean_of_groups(sample.value),
        effect=mean_of_groups(sample.effect),
        low=limits.low,
        high=limits.high,
        interval=limits.kinds,
        n=np.isfinite(sample.effect).sum(1),
        prompts=sample.prompts,
        missing=sample.missing,
        p=p,
        q=q,
        significant=q <= asked.q,
        restored=ratios.ratio,
        restored_low=ratios.low,
        restored_high=ratios.high,
    )


def distances(study: Study) -> set[str]:
    """Names of metrics that compare with the unedited run, such as KL.

    They are 0 without an edit and never below: whether an edit's mean differs from 0 is no question, and there is no
    test of it. Random controls say whether it is large.
    """
    return {metric.name for metric in study.metrics if type(metric).reads_baseline}


def tested(
    values: Float[np.ndarray, "edits groups"], families: pd.Series, study: Study
) -> tuple[Float[np.ndarray, " edits"], Float[np.ndarray, " edits"]]:
    """The sign-flip p of each row, and q corrected within each family; NaN where the family is missing: not tested."""
    p, q = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for family in families.dropna().unique():
        mine = (families == family).to_numpy(dtype=bool)
        asked = study.statistics
        p[mine] = sign_flip_p(values[mine], resamples=asked.resamples, q=asked.q, seed=study.seed)
        q[mine] = benjamini_hochberg(p[mine])
    return p, q


def mean_of_groups(values: Float[np.ndarray, "edits groups"]) -> Float[np.ndarray, " edits"]:
    """Mean over the groups that an edit has; NaN where it has none."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Float[np.ndarray, " edits"] = np.where(there, values, 0.0).sum(1) / there.sum(1)
    return mean


def _discovered(frame: pd.DataFrame, table: pd.DataFrame) -> Float[np.ndarray, " rows"]:
    """The effect of each row's edit on the prompts to discover with."""
    parts = [
        sample.edits[list(KEY)].assign(metric=sample.metric, discover=mean_of_groups(sample.effect))
        for sample in make_samples(frame, "discover")
    ]
    if not parts:
        return np.full(len(table), np.nan)
    joined = table[[*KEY, "metric"]].merge(pd.concat(parts), on=[*KEY, "metric"], how="left")
    return joined["discover"].to_numpy(dtype=np.float64)


def _ranks(table: pd.DataFrame, by: str) -> Float[np.ndarray, " rows"]:
    """1 for the largest effect, either way, of those that are no controls."""
    sizes = table[by].astype("float64").abs().where(table["control_of"].isna())
    ranks = sizes.groupby([table[column] for column in FAMILY], sort=False).rank(ascending=False, method="first")
    return ranks.to_numpy(dtype=np.float64)
