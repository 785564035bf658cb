"""From the long frame of a study to arrays of edits by prompt groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

SplitName: TypeAlias = Literal["all", "discover", "confirm"]

EDIT_COLUMNS = ("model", "family", "edit_id", "label", "layer", "size", "dose", "method", "positions", "control_of")
KEY = ("model", "family", "edit_id", "control_of")
"""What tells edits apart: one and the same edit may stand in several families, and as the control of several others."""


@dataclass(frozen=True)
class Sample:
    """One metric of all edits of one model, on the prompt groups of one split.

    Attributes:
        edits: one row an edit: `EDIT_COLUMNS` and ``round``, in the order of the frame.
        groups: names of the groups, sorted.
        effect, value, baseline, corrupt: means over the prompts of a group; NaN where none was measured. All four are
            over the same prompts, those whose effect is finite.
        prompts: how many prompts those are, for each edit.
        missing: how many prompts of the split the edit has no effect on: failed, not yet run, or not finite.
    """

    model: str
    metric: str
    split: SplitName
    edits: pd.DataFrame
    groups: list[str]
    effect: Float[np.ndarray, "edits groups"]
    value: Float[np.ndarray, "edits groups"]
    baseline: Float[np.ndarray, "edits groups"]
    corrupt: Float[np.ndarray, "edits groups"]
    prompts: Int[np.ndarray, " edits"]
    missing: Int[np.ndarray, " edits"]

    @property
    def is_control(self) -> Bool[np.ndarray, " edits"]:
        """Which edits are random controls."""
        return self.edits["control_of"].notna().to_numpy(dtype=bool)


def judged_split(frame: pd.DataFrame) -> SplitName:
    """The split whose effects are reported: confirm where there is one; discover only where nothing else was run."""
    found = set(frame["split"])
    return "confirm" if "confirm" in found else "all" if "all" in found or not found else "discover"


def make_samples(frame: pd.DataFrame, split: SplitName) -> list[Sample]:
    """A sample for each model and metric, models and metrics in the order of the frame.

    Prompts without a group are groups of their own. Rows whose effect is not finite are left out and counted.
    """
    rows = frame[frame["split"].isin([split, "all"])]
    found = []
    for (model, metric), part in rows.groupby(["model", "metric"], sort=False, observed=True):
        found.append(_sample(part, str(model), str(metric), split))
    return found


def _sample(rows: pd.DataFrame, model: str, metric: str, split: SplitName) -> Sample:
    named = rows["group"].fillna("").astype(str)
    named = named.where(named != "", rows["prompt_id"].astype(str))
    edit_codes, firsts = _codes(rows)
    group_codes, groups = pd.factorize(named, sort=True)
    shape = (len(firsts), len(groups))
    cells = edit_codes * shape[1] + group_codes
    finite = np.isfinite(rows["effect"].to_numpy(dtype=np.float64))
    counts = np.bincount(cells[finite], minlength=shape[0] * shape[1]).reshape(shape)

    def means(column: str) -> Float[np.ndarray, "edits groups"]:
        if column not in rows:
            return np.full(shape, np.nan)
        numbers = rows[column].to_numpy(dtype=np.float64)
        sums = np.bincount(cells[finite], weights=numbers[finite], minlength=shape[0] * shape[1]).reshape(shape)
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / counts

    prompts = counts.sum(1)
    edits = rows.iloc[firsts][[*EDIT_COLUMNS, "round"]].reset_index(drop=True)
    return Sample(
        model=model,
        metric=metric,
        split=split,
        edits=edits,
        groups=[str(group) for group in groups],
        effect=means("effect"),
        value=means("value"),
        baseline=means("baseline"),
        corrupt=means("corrupt"),
        prompts=prompts,
        missing=rows["prompt_id"].nunique() - prompts,
    )


def _codes(rows: pd.DataFrame) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " edits"]]:
    """A number for each row's edit, by first appearance, and the place of each edit's first row."""
    codes = rows.groupby(list(KEY), sort=False, dropna=False, observed=True).ngroup().to_numpy()
    _, firsts = np.unique(codes, return_index=True)
    return codes, firsts
