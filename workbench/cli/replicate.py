"""``workbench replicate``: published results, asked again here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli import options
from workbench.cli.output import Output, versions

RESULTS = Path("docs/replications")


def replicate(
    names: Annotated[list[str] | None, typer.Argument(help="Rows to run; see --list.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Run every row that has no result yet.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run rows that have a result, too.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the rows and stop.")] = False,
    results: Annotated[Path, typer.Option("--results", help="Folder of the results; the table lies beside it.")] = (
        RESULTS
    ),
    json_file: options.JsonFile = None,
) -> None:
    """Ask published questions again, and compare the shape of what comes out.

    Every row is saved when it is done, so a run that was stopped goes on where it stopped.

    Example: workbench replicate induction-heads --again
    """
    from workbench.errors import InputError
    from workbench.probes import replications
    from workbench.report import write_atomically

    output = Output(json_file)
    rows = replications.replications()
    if listed or not (names or every):
        for row in rows:
            state = f"cannot run here: {row.missing}" if row.run is None else row.published
            output.console.print(f"{row.name}  {row.paper}", highlight=False, markup=False, soft_wrap=True)
            output.console.print(f"    {state}", style="dim", highlight=False, markup=False, soft_wrap=True)
        if not listed:
            raise InputError("Name the rows to run, or ask for --all of them.")
        return
    wanted = rows if every else [replications.get_replication(name) for name in names or ()]
    done = []
    for row in wanted:
        if row.run is None:
            if not every:
                raise InputError(f"{row.name} cannot run here: {row.missing}.")
            continue
        result = None if again else replications.load(row.name, results)
        if result is None:
            began = time.monotonic()
            with output.errors.status(f"{row.name} ..."):
                outcome = row.run()
            result = replications.Result.of(row, outcome, time.monotonic() - began, versions())
            replications.save(result, results)
        done.append(result)
        output.console.print(f"{row.name}: {result.found}", highlight=False, markup=False)
    table = results.parent / f"{results.name}.md"
    write_atomically(table, replications.render(rows, results))
    output.wrote(table)
    output.save({"replications": [result.model_dump() for result in done]})
