"""Results as tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.cli.output import records

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

CONDITIONS = {"baseline": "nothing ablated", "top": "these ablated", "random": "random others"}
MEASURED = {
    "loss_second": "loss, second copy",
    "accuracy_second": "accuracy, second copy",
    "loss_first": "loss, first copy",
    "accuracy_first": "accuracy, first copy",
}


def heads_table(table: pd.DataFrame, top: int) -> Table:
    """The best rows of what `find_heads` returned."""
    from rich.table import Table

    shown = Table()
    shown.add_column("head")
    for column in ("score", "95 % interval", "95 % null", "p"):
        shown.add_column(column, justify="right")
    for row in records(table.head(top)):
        style = "bold" if row["low"] > row["null"] else None
        shown.add_row(*head_cells(row), style=style)
    return shown


def kinds_table(tables: dict[str, pd.DataFrame]) -> Table:
    """The best heads of each kind, side by side with how many there are."""
    from rich.table import Table

    shown = Table()
    for column in ("kind", "above null", "best", "score", "95 % interval", "then"):
        left = column in ("kind", "best", "then")
        shown.add_column(column, justify="left" if left else "right", no_wrap=column != "then")
    for kind, table in tables.items():
        rows = records(table.head(3))
        above = int((table["low"] > table["null"]).sum())
        site, score, interval, _, _ = head_cells(rows[0])
        then = ", ".join(str(row["site"]) for row in rows[1:])
        shown.add_row(kind, f"{above} / {len(table)}", site, score, interval, then)
    return shown


def measures_table(result: pd.DataFrame) -> Table:
    """What `ablate_top_k` returned on any task: one row a measure, and the rank of the top heads' harm."""
    from rich.table import Table

    shown = Table()
    for column in ablation_columns(result):
        shown.add_column(column, justify="right" if column else "left")
    conditions = records(result)
    for column in map(str, result.columns):
        if f"{column}_low" in result.columns:
            shown.add_row(column.replace("_", ", ", 1), *(interval_text(row, column) for row in conditions))
        elif column.startswith("p_"):
            shown.add_row("p", "", f"{result[column].iloc[1]:.3f}", "")
    return shown


def layer_cell(row: dict[str, Any]) -> str:
    """A layer as text, with the mixer where it is not the first: ``3``, ``3.mixer1``."""
    return f"{row['layer']}" + (f".mixer{row['mixer']}" if row["mixer"] else "")


def head_cells(row: dict[str, Any]) -> list[str]:
    """One head as text: site, score, interval, null quantile, p."""
    return [
        str(row["site"]),
        f"{row['score']:.3f}",
        f"{row['low']:.3f}–{row['high']:.3f}",
        f"{row['null']:.3f}",
        f"{row['p']:.3f}",
    ]


def ablation_table(result: pd.DataFrame) -> Table:
    """What `ablate_top_k` returned, one row a measure."""
    from rich.table import Table

    shown = Table()
    for column in ablation_columns(result):
        shown.add_column(column, justify="right" if column else "left")
    for row in ablation_rows(result):
        shown.add_row(*row)
    return shown


def ablation_columns(result: pd.DataFrame) -> list[str]:
    """Column titles that go with `ablation_rows`."""
    return ["", *(CONDITIONS[str(condition)] for condition in result["condition"])]


def ablation_rows(result: pd.DataFrame) -> list[list[str]]:
    """Rows of text: the measure, then its value and interval in each condition."""
    conditions = records(result)
    return [[text, *(interval_text(row, measure) for row in conditions)] for measure, text in MEASURED.items()]


def interval_text(row: dict[str, Any], measure: str) -> str:
    """``0.91 (0.88–0.94)``: two digits, as many as an interval over a few sequences deserves."""
    return f"{row[measure]:.2f} ({row[f'{measure}_low']:.2f}–{row[f'{measure}_high']:.2f})"
