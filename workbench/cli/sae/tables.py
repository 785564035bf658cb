"""Tables of data frames on the terminal, which everything that came out of a text may stand in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.cli.output import records

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

TOKENS = ("token", "tokens")
"""Columns of tokens, whose spaces are a part of them and shown."""


def frame_table(table: pd.DataFrame, title: str | None = None, number: str = ".4g", narrow: bool = False) -> Table:
    """A data frame. What looks like markup or moves a cursor is shown for what it is; what is not known is left out.

    Args:
        number: format of what is no whole number.
        narrow: without lines between columns, where every column counts.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False) if narrow else Table(title=title)
    rows = records(table)
    for column in table.columns:
        words = any(isinstance(row[column], str | list) for row in rows)
        shown.add_column(str(column).replace("_", " "), justify="left" if words else "right")
    for row in rows:
        shown.add_row(*(Text(shown_cell(name, value, number)) for name, value in row.items()))
    return shown


def shown_cell(column: str, value: Any, number: str = ".4g") -> str:
    """A value as a table shows it."""
    from workbench.figures.tokens import visible_text, visible_token

    if isinstance(value, float):
        return "" if value != value else format(value, number)
    if column in TOKENS:
        tokens = value if isinstance(value, list | tuple) else [value]
        return " ".join(visible_token(str(token)) for token in tokens)
    return visible_text(str(value))
