"""Dose curves: how an effect grows with the strength of an edit."""

from __future__ import annotations

import pandas as pd

CURVE = ["model", "family", "metric", "label"]


def dose_curves(effects: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of effects whose edits were made at two doses or more, along each curve by dose.

    Random controls are left out. The intervals of one curve come of the same resamples, but hold one by one.
    """
    rows = effects[effects["dose"].notna() & effects["control_of"].isna()]
    doses = rows.groupby(CURVE, sort=False, observed=True)["dose"].transform("nunique")
    return rows[doses > 1].sort_values([*CURVE, "dose"], kind="stable", ignore_index=True)
