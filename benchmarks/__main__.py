"""The command: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import setting, store
from benchmarks.race import CannotMeasure
from benchmarks.races.registry import all_races, race_named
from benchmarks.runner import measure


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Rows to measure; all of them by default.")] = None,
    again: Annotated[bool, typer.Option(help="Measure anew what is measured already.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of every side; by default the row says.")] = None,
    gpu: Annotated[bool, typer.Option(help="The rows that run on a GPU, instead of those that run on a CPU.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of the rows and the table.")] = store.RESULTS,
    show: Annotated[bool, typer.Option("--list", help="Only list the rows.")] = False,
    table: Annotated[bool, typer.Option(help="Only write the tables anew, from the rows there are.")] = False,
) -> None:
    """Race the workbench against what one would run instead.

    A row is kept while nothing it depends on has changed (code, versions, machine, threads), so a run that was
    interrupted goes on where it stopped.
    """
    console = Console()
    if show:
        for race in all_races():
            console.print(f"[bold]{race.name}[/bold]  {race.title}")
        return
    if table:
        store.write_tables(results)
        return
    device = "cuda" if gpu else "cpu"
    try:
        races = (
            [race_named(name) for name in names] if names else [race for race in all_races() if race.device == device]
        )
    except KeyError as unknown:
        known = ", ".join(race.name for race in all_races())
        raise typer.BadParameter(f"There is no row {unknown.args[0]!r}; the rows are {known}.") from None
    if any(race.device == "cuda" for race in races) and not _has_gpu():
        console.print("These rows run on a CUDA device, and torch finds none here.")
        raise typer.Exit(1)
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    failed = False
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for race in races:
            task = progress.add_task(race.name, total=None)

            def on_progress(stage: str, done: int, total: int, name: str = race.name, task: object = task) -> None:
                progress.update(task, description=f"{name}: {stage}", completed=done, total=total)  # type: ignore[arg-type]

            here = setting.current(race, threads)
            if not again and store.kept(race.name, results, here) is not None:
                progress.update(task, description=f"{race.name}: kept", completed=1, total=1)
                continue
            try:
                store.save(measure(race, here, command, on_progress), results)
                progress.update(task, description=f"{race.name}: measured", completed=1, total=1)
            except CannotMeasure as reason:
                failed = True
                progress.update(task, description=f"{race.name}: not measured")
                progress.stop_task(task)
                console.print(f"{race.name} could not be measured: {reason}", markup=False)
    console.print(f"{results / store.TABLE}", markup=False)
    if failed:
        raise typer.Exit(1)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    typer.run(main)
