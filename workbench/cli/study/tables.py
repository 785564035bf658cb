"""What studies found, as tables on a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from workbench.cli.output import records

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def comparison_table(found: pd.DataFrame, top: int) -> Table:
    """The largest differences of `compare_studies`; what all rows have in common stands in the title."""
    from rich.table import Table
    from rich.text import Text

    rows = [{**row, "models": _models(row)} for row in records(found)]
    rows.sort(key=lambda row: -abs(row["difference"]))
    naming = ("models", "family", "metric")
    common = [name for name in naming if len({row[name] for row in rows}) == 1]
    own = [name for name in naming if name not in common]
    more = len(rows) - top
    shown = Table(
        title=Text(", ".join(str(rows[0][name]) for name in common)),
        title_justify="left",
        caption=f"{more:,} more; --top shows them, --json has them all" if more > 0 else None,
        caption_justify="left",
    )
    for column in (*own, "edit"):
        shown.add_column(column)
    for column in ("in A", "in B", "B - A", "interval", "q"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in rows[:top]:
        shown.add_row(
            *(Text(str(row[name])) for name in own),
            Text(f"{row['label']}" + ("" if _absent(row["dose"]) else f" at {row['dose']:g}")),
            *(Text(f"{row[name]:+.3g}") for name in ("effect_a", "effect_b", "difference")),
            Text("–" if _absent(row["low"]) else f"{row['low']:+.2g} to {row['high']:+.2g}"),
            Text("–" if _absent(row["q"]) else f"{row['q']:.3f}"),  # effects on different prompts are not tested
        )
    return shown


def _models(row: dict[str, Any]) -> str:
    return row["model_a"] if row["model_a"] == row["model_b"] else f"{row['model_a']} : {row['model_b']}"


def _absent(value: float | None) -> bool:
    return value is None or math.isnan(value)
