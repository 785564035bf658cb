"""Which effects are shown first."""

from __future__ import annotations

from typing import Any

import numpy as np
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


def largest_first(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows by the size of a number, either way; those without it last."""
    sizes = table[column].to_numpy(dtype=np.float64)
    return table.iloc[np.argsort(-np.nan_to_num(np.abs(sizes), nan=-1.0), kind="stable")]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as mappings from column to value."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict(orient="records")]
