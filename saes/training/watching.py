"""The bar that shows how a training goes: on the error stream, after two seconds, with its numbers beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from workbench.notebook_bar import NotebookBar, in_notebook
from workbench.progress import PATIENCE

Tell: TypeAlias = Callable[[int, Mapping[str, Any] | None], None]
"""Shows how many vectors have been trained on, and measures of the latest step where there are new ones."""


def _silent(done: int, row: Mapping[str, Any] | None) -> None:
    """Show nothing."""


@contextmanager
def watching(show: bool, total: int) -> Iterator[Tell]:
    """A bar for the duration of a ``with`` block.

    Args:
        show: False for none.
        total: vectors to train on.
    """
    if not show:
        yield _silent
        return
    if in_notebook():
        with NotebookBar("training", total, PATIENCE) as line:
            yield lambda done, row: line.show(done, None if row is None else f"training, {said(row)}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=total, visible=False, said="")

        def tell(done: int, row: Mapping[str, Any] | None) -> None:
            if row is not None:
                bar.update(task, said=said(row))
            bar.update(task, completed=done, visible=time.monotonic() - began > PATIENCE)

        yield tell


def said(row: Mapping[str, Any]) -> str:
    """Measures of a step in one line."""
    return (
        f"loss {row['loss']:.4g}  L0 {row['l0']:.1f}  explained {row['explained_variance']:.1%}  "
        f"dead {row['dead']:,}  {row['vectors_per_second']:,.0f} vectors/s"
    )
