"""What the commands of ``workbench probe`` share: layers as they are typed, tables, and a page with one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.output import Output, facts, records
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from workbench.report import Block

Layers = Annotated[str, typer.Option("--layers", help="all, or numbers: 0,3.")]


def layer_numbers(spelled: str) -> list[int] | None:
    """Layers as typed, None for all. Raises InputError."""
    if spelled.strip() == "all":
        return None
    try:
        return [int(part) for part in spelled.split(",")]
    except ValueError:
        raise InputError(f"--layers is 'all' or numbers with commas, such as 0,3; got {spelled!r}.") from None


def data_table(frame: pd.DataFrame) -> Table:
    """A DataFrame on a terminal: three digits, booleans as words, text as it is and no markup."""
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    for name in frame.columns:
        shown.add_column(str(name).replace("_", " "), justify="right")
    for row in records(frame):
        shown.add_row(*(Text(_cell(value)) for value in row.values()))
    return shown


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return f"{value:.3f}"


def write_figure(output: Output, title: str, lead: str, figure: Any, caption: str) -> None:
    """A self-contained page with one figure, if a file for it was named."""
    if output.html_file is None:
        return
    from workbench.report import Page, Plot

    blocks: list[Block] = [Plot(figure, caption, "wide")]
    output.write_page(Page(title, lead, blocks, facts()))
