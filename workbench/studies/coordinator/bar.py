"""The progress bar of a study: units of work done, the rate, and the time left."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from workbench.notebook_bar import NotebookBar, in_notebook
from workbench.progress import PATIENCE, tell


class Bar:
    """A bar on the error stream that counts multiplications, which tell time better than units do.

    Whoever listens to progress (`workbench.progress.heard_by`) hears it, shown or not.

    Args:
        show: False for none at all.
    """

    def __init__(self, show: bool) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._line: NotebookBar | None = None
        self._what, self._done, self._total = "", 0.0, 0.0
        if show and in_notebook():
            self._line = NotebookBar("", None, PATIENCE)
        elif show:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            # Standard output belongs to results, which may be piped on.
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left:"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._line is not None:
            self._line.__exit__(kind, error, trace)

    def say(self, what: str) -> None:
        """What is going on that cannot be counted."""
        if self._bar is not None:
            self._bar.update(self._task, description=what, total=None)
        if self._line is not None:
            self._line.total = None
            self._line.show(0, what)
        tell(what, 0, None)

    def begin(self, what: str, total: float) -> None:
        """Count to `total` from here."""
        if self._bar is not None:
            self._bar.reset(self._task, description=what, total=total)
        if self._line is not None:
            self._line.total = total
            self._line.show(0, what)
        self._what, self._done, self._total = what, 0.0, total
        tell(what, 0, round(total))

    def advance(self, done: float) -> None:
        """So much more is done."""
        if self._bar is not None:
            self._bar.update(self._task, advance=done)
        if self._line is not None:
            self._line.advance(done)
        self._done += done
        tell(self._what, round(self._done), round(self._total))
