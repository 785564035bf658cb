"""The progress bar of everything that may take long: on the error stream, after two seconds, gone when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias, TypeVar

from workbench.notebook_bar import NotebookBar, in_notebook

Item = TypeVar("Item")

Listener: TypeAlias = Callable[[str, int, int | None], None]
"""Called with what is being done, how many items are done, and how many there are (None where nobody knows)."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)

PATIENCE = 2.0
"""Seconds before a bar appears: what is done by then needs none."""


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Let `listener` follow everything that is tracked inside a ``with`` block, in this thread.

    It is called before the first item and after each, whether or not there is a bar. What it raises ends the work:
    that is how a program with a window of its own stops a long computation.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(what: str, done: int, total: int | None) -> None:
    """Tell the listener, if somebody listens, of work that is no loop over items; see `heard_by`."""
    if (listener := _listener.get()) is not None:
        listener(what, done, total)


def tracked(items: Iterable[Item], show: bool, what: str, total: int | None = None) -> Iterator[Item]:
    """The items, under a progress bar if one is wanted.

    Args:
        show: False for no bar at all.
        what: what is being done, beside the bar: ``"reading activations"``.
        total: how many items there are, where they cannot tell themselves.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if (listener := _listener.get()) is not None:
        items = _heard(items, listener, what, total)
    if not show:
        yield from items
        return
    if in_notebook():
        with NotebookBar(what, total, PATIENCE) as line:
            for done, item in enumerate(items):
                yield item
                line.show(done + 1)
        return
    from rich.console import Console
    from rich.progress import Progress

    began = time.monotonic()
    # Standard output belongs to results, which may be piped on.
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, visible=False)
        for done, item in enumerate(items):
            yield item
            bar.update(task, completed=done + 1, visible=time.monotonic() - began > PATIENCE)


def _heard(items: Iterable[Item], listener: Listener, what: str, total: int | None) -> Iterator[Item]:
    """The items, each told to a listener."""
    listener(what, 0, total)
    for done, item in enumerate(items):
        yield item
        listener(what, done + 1, total)
