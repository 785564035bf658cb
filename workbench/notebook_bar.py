"""The progress bar in a notebook: one line of the cell that moves, and an empty output once the work is done.

Rich draws bars in notebooks through a package of widgets that need a server and are nothing once the notebook is
saved. The browser's own ``<progress>`` element needs neither.
"""

from __future__ import annotations

import html
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

PROGRESS_MARK = "workbench_progress"
"""A key in the metadata of the output that was the bar, by which tools tell it from results."""

BETWEEN = 0.2
"""Seconds between two movements of the bar: each is a message to the browser."""


def in_notebook() -> bool:
    """Whether this code runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")  # imported already wherever there is a kernel
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookBar:
    """A bar for the duration of a ``with`` block; it appears after `patience` seconds and is gone at the end.

    Args:
        what: what is being done.
        total: how much there is to do; None where nobody knows.
        patience: seconds without a bar: what is done by then needs none.
    """

    def __init__(self, what: str, total: float | None, patience: float) -> None:
        self.what = what
        self.total = total
        self.done: float = 0
        self._due = time.monotonic() + patience
        self._handle: DisplayHandle | None = None

    def __enter__(self) -> NotebookBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._draw("")

    def show(self, done: float, what: str | None = None) -> None:
        """So much is done by now; `what` changes what stands beside the bar."""
        self.done = done
        self.what = self.what if what is None else what
        if (now := time.monotonic()) < self._due:
            return
        self._due = now + BETWEEN
        label = html.escape(self.what)
        if not self.total:
            self._draw(f"{label} ({done:,.0f})" if done else label)
        else:
            self._draw(f'<progress value="{done:g}" max="{self.total:g}"></progress> {label}: {done / self.total:.0%}')

    def advance(self, done: float, what: str | None = None) -> None:
        """So much more is done."""
        self.show(self.done + done, what)

    def _draw(self, content: str) -> None:
        from IPython.display import HTML, display

        shown = HTML(content, metadata={PROGRESS_MARK: True})  # type: ignore[no-untyped-call]
        if self._handle is None:
            self._handle = display(shown, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown)  # type: ignore[no-untyped-call]
