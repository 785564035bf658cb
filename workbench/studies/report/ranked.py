"""Which effects are shown first."""

from __future__ import annotations

import pandas as pd

from workbench.studies.schema.study import Study


def main_metrics(study: Study) -> dict[str, str]:
    """The metric that each entry of edits is judged by: its own, or the study's first."""
    return {entry.name: entry.metric or study.metrics[0].name for entry in study.edits}


def ranked(effects: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Effects on one metric, those of random controls left out, the largest of each model and family first.

    Edits that were measured on nothing (every prompt failed) come last.
    """
    mine = effects[(effects["metric"] == metric) & effects["control_of"].isna()]
    return mine.sort_values("rank", kind="stable", na_position="last")
