"""Pictures of what head finders return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.figures.scores import score_map

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@checked_call
def heads_map(table: pd.DataFrame, *, by: str = "score", unit: str = "head") -> go.Figure:
    """The layer x head map of one kind, with a mark at the heads above their null.

    Layers of more than 64 heads are sorted, best first, and the mark stands behind the last one above its null.

    Args:
        table: what `find_heads` returned.
        by: the column that gives the colour.
        unit: what a head is called: ``"head"`` or ``"channel"``.

    Raises:
        InputError: the table is empty or has no such column.
    """
    if table.empty or by not in table.columns:
        raise InputError(f"The table has no column {by!r}; give one that find_heads returned.")
    by_mixer = {place: rows.sort_values("head") for place, rows in table.groupby(["layer", "mixer"])}
    rows_of = list(by_mixer.values())
    return score_map(
        [rows[by].to_numpy(dtype="float64") for rows in rows_of],
        marked=[(rows["low"] > rows["null"]).to_numpy(dtype=bool) for rows in rows_of],
        name=f"{table['kind'].iloc[0]} {by}",
        unit=unit,
        layers=[f"{layer}.mixer{mixer}" if mixer else str(layer) for layer, mixer in by_mixer],
        full_scale=0.1,
    )
