"""What is missing from a study's numbers, in words: failed units are counted, never averaged away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workbench.studies.statistics.resampling import FEWEST
from workbench.studies.statistics.results import Results


def not_finite(frame: pd.DataFrame) -> pd.DataFrame:
    """How many measurements were no numbers: one row a model, family and metric that has any, with ``units``."""
    bad = frame[~np.isfinite(frame["effect"].to_numpy(dtype=np.float64))]
    counts = bad.groupby(["model", "family", "metric"], sort=False, observed=True).size()
    table: pd.DataFrame = counts.rename("units").reset_index()
    return table


def coverage_notes(results: Results, effects: pd.DataFrame) -> list[str]:
    """Sentences about what is missing or weak; empty where nothing is."""
    counted: Any = results.coverage
    planned, done, failed = (int(counted.get(word, 0)) for word in ("planned", "done", "failed"))
    notes = []
    if done < planned:
        notes.append(
            f"{done:,} of {planned:,} units were measured"
            + (f", {failed:,} failed" if failed else "")
            + (f", {planned - done - failed:,} have not been run" if planned > done + failed else "")
            + "."
        )
    for reason, units in dict(counted.get("reasons", {})).items():
        notes.append(f"{int(units):,} units failed: {reason}")
    for row in not_finite(results.frame).to_dict(orient="records"):
        notes.append(
            f"{row['units']:,} measurements of {row['metric']} in {row['model']} ({row['family']}) were not a finite "
            "number; they are counted as missing and are in no mean."
        )
    short = effects[effects["missing"] > 0]
    if len(short):
        notes.append(
            f"{len(short):,} of {len(effects):,} effects lack some of the prompts that others have: their n is smaller "
            "and marked †."
        )
    most = effects.groupby(["model", "metric"], sort=False, observed=True)["n"].max()
    fewest = int(most.min()) if len(most) else 0
    if len(most) and fewest < FEWEST:
        notes.append(f"Intervals take at least {FEWEST} prompt groups; there are {fewest}.")
    stood_in = (effects["interval"] == "percentile").sum()
    if results.study.statistics.interval != "percentile" and stood_in:
        notes.append(
            f"{stood_in:,} intervals are percentile ones, because the same effect in most groups leaves a bootstrap-t "
            "interval without an end; with few groups they cover less than they say."
        )
    if len(effects) and str(effects["split"].iloc[0]) == "discover":
        notes.append("Only prompts to discover with have been run: nothing here is confirmed.")
    return notes


def least_p(effects: pd.DataFrame) -> pd.DataFrame:
    """Families in which no edit could have been found, however large its effect, for want of prompt groups.

    Of n groups a sign-flip test has 2^n outcomes; among m edits the smallest corrected p is m / 2^(n - 1) where only
    one edit matters. One row a model, family and metric with ``m``, ``n`` and ``least``.
    """
    tested = effects[effects["p"].notna()]
    grouped = tested.groupby(["model", "family", "metric"], sort=False, observed=True)
    table = grouped.agg(m=("p", "size"), n=("n", "max")).reset_index()
    return table.assign(least=np.minimum(1.0, table["m"] * 2.0 ** (1 - table["n"])))
