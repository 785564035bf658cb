"""``workbench replicate``: published results, asked again here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import options
from workbench.cli.output import Output, versions
from workbench.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from workbench.probes.replications import Result

PAGE = "replications.md"
RESULTS = "replications"


def replicate(
    names: Annotated[list[str] | None, typer.Argument(help="Rows to run; see --list.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Run every row that has no result in DIR yet.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run rows that have a result in DIR, too.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the rows and stop.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help=f"Keep the results in DIR/{RESULTS}/ and the table of all rows in DIR/{PAGE}.",
            show_default="nothing is written",
        ),
    ] = None,
    json_file: options.JsonFile = None,
) -> None:
    """Ask published questions again, and compare the shape of what comes out.

    With --out every row is saved when it is done, so a run that was stopped goes on where it stopped.

    Example: workbench replicate induction-heads
    """
    from workbench.probes import replications
    from workbench.report import write_atomically
    from workbench.saes.replications import replications as whole_table

    output = Output(json_file)
    rows = whole_table()
    if listed or not (names or every):
        for row in rows:
            state = f"cannot run here: {row.missing}" if row.run is None else row.published
            output.console.print(f"{row.name}  {row.paper}", highlight=False, markup=False, soft_wrap=True)
            output.console.print(f"    {state}", style="dim", highlight=False, markup=False, soft_wrap=True)
        if not listed:
            raise InputError("Name the rows to run, or ask for --all of them.")
        return
    wanted = rows if every else [replications.get_replication(name) for name in names or ()]
    results = None if out is None else _folder(out)
    done = []
    for row in wanted:
        if row.run is None:
            if not every:
                raise InputError(f"{row.name} cannot run here: {row.missing}.")
            continue
        result = None if again or results is None else replications.load(row.name, results)
        if result is None:
            began = time.monotonic()
            try:
                with output.errors.status(f"{row.name} ..."):
                    outcome = row.run()
            except InputError as missing:
                if not every:
                    raise
                output.note(f"{row.name} is left out: {missing}")
                continue
            result = replications.Result.of(row, outcome, time.monotonic() - began, versions())
            if results is not None:
                replications.save(result, results)
        done.append(result)
        output.note(f"{row.name} is done")
    published = {row.name: row.published for row in rows}
    output.console.print(_table(done, published))
    if out is not None and results is not None:
        write_atomically(out / PAGE, replications.render(rows, results))
        output.wrote(out / PAGE)
    output.save({"replications": [result.model_dump() for result in done]})


def _folder(out: Path) -> Path:
    try:
        (out / RESULTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {out / RESULTS} cannot be made: {error.strerror}.") from error
    return out / RESULTS


def _table(done: list[Result], published: dict[str, str]) -> Table:
    """What came out beside what was published."""
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    for column in ("result", "what came out", "the paper's shape", "shows"):
        shown.add_column(column, no_wrap=column == "shows")
    for result in done:
        shows = {True: "yes", False: "no", None: "–"}[result.agrees]
        shown.add_row(*map(Text, (result.name, result.found, published[result.name], shows)))
    return shown
