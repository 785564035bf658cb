"""An edit among its random controls: do as many components, drawn blindly, do as much?"""

from __future__ import annotations

import numpy as np
import pandas as pd

CONTROL_COLUMNS = ["controls", "control_low", "control_high", "p_controls"]
_MATCH = ["model", "family", "metric", "dose"]


def add_control_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """A table of effects with each edit's place among its random controls of the same dose.

    Added are ``controls``, how many were measured; ``control_low`` and ``control_high``, the least and the largest of
    their effects; ``p_controls``, (1 + controls whose effect is at least as large, either way) / (1 + controls): its
    rank among them. Nine controls cannot make it smaller than 1/10.
    """
    added = table.reset_index(drop=True).assign(controls=0, control_low=np.nan, control_high=np.nan, p_controls=np.nan)
    effects = added["effect"].to_numpy(dtype=np.float64)
    drawn = added[added["control_of"].notna() & added["effect"].notna()]
    by_edit = {key: rows["effect"].to_numpy(dtype=np.float64) for key, rows in _grouped(drawn, "control_of")}
    for key, rows in _grouped(added[added["control_of"].isna()], "label"):
        if key not in by_edit:
            continue
        others = by_edit[key]
        for place in rows.index:
            size = abs(effects[place])
            added.at[place, "controls"] = len(others)
            added.at[place, "control_low"] = others.min()
            added.at[place, "control_high"] = others.max()
            if np.isfinite(size):
                added.at[place, "p_controls"] = (1 + (np.abs(others) >= size).sum()) / (1 + len(others))
    return added


def _grouped(table: pd.DataFrame, label: str) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Rows by model, family, metric, dose and label; a missing dose is a dose of its own."""
    return [
        (tuple(str(part) for part in key), rows)
        for key, rows in table.groupby([*_MATCH, label], sort=False, dropna=False, observed=True)
    ]
