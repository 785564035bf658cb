"""The command: ``python -m notebooks [NAME ...]``."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbformat import NotebookNode
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from notebooks.catalogue import FOLDER, Notebook, chosen_notebooks
from notebooks.execution import CellFailed, execute, retold
from notebooks.normal_form import normalise, problems, written
from notebooks.pictures import NoBrowser, add_pictures, browser
from workbench.errors import InputError
from workbench.report import write_atomically


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which ones, as 2 or 02; all of them by default.")] = None,
    model: Annotated[str | None, typer.Option(help="Run on this model instead; needs --out.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.", file_okay=False)] = FOLDER,
    pictures: Annotated[bool, typer.Option(help="Put a picture beside each Plotly figure (needs Chromium).")] = True,
    text_only: Annotated[bool, typer.Option("--text-only", help="Run nothing: take over text that changed.")] = False,
) -> None:
    """Run notebooks and write them with their outputs."""
    console = Console()
    if out.resolve() == FOLDER and (model is not None or not pictures):
        console.print("What is committed has the sources' own models, and pictures: give another folder with --out.")
        raise typer.Exit(2)
    try:
        chosen = chosen_notebooks(names or [])
        if text_only:
            for notebook in chosen:
                content = retold(notebook, nbformat.read(notebook.file, as_version=4))
                write_atomically(notebook.file, written(content))
            return
        with browser() if pictures else nullcontext():
            failed = [notebook for notebook in chosen if not _made(notebook, model, out, pictures, console)]
    except (LookupError, NoBrowser, InputError) as error:
        console.print(str(error), markup=False)
        raise typer.Exit(2) from error
    raise typer.Exit(1 if failed else 0)


def _made(notebook: Notebook, model: str | None, out: Path, pictures: bool, console: Console) -> bool:
    """Run and write one notebook; False, with the reasons printed, where that is not possible."""
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(notebook.name, total=None)
        try:
            content = execute(
                notebook, model, lambda done, total: bar.update(task, completed=done, total=total, refresh=True)
            )
        except CellFailed as error:
            console.print(str(error), markup=False, highlight=False)
            return False
    ran = time.monotonic() - began
    normalise(content)
    if pictures:
        add_pictures(content)
    path = out / f"{notebook.name}.ipynb"
    # On another model a warning is that model's business; what is committed has none.
    if reasons := problems(content) if model is None else []:
        console.print(f"{notebook.name} is not written:", *reasons, sep="\n  ", markup=False)
        return False
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, written(content))
    console.print(
        f"{path.name}: {ran:.0f} s, {path.stat().st_size / 1000:,.0f} kB{_false_claims(content)}",
        markup=False,
        highlight=False,
    )
    return True


def _false_claims(content: NotebookNode) -> str:
    from notebooks.claims import claims_of

    wrong = [claim.sentence for claim in claims_of(content) if not claim.holds]
    return "".join(f"\n  does not hold: {sentence}" for sentence in wrong)


if __name__ == "__main__":
    typer.run(main)
