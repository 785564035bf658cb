"""The progress bar of everything that may take long: on the error stream, after two seconds, gone when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

PATIENCE = 2.0
"""Seconds before a bar appears: what is done by then needs none."""


def tracked(items: Iterable[Item], show: bool, what: str, total: int | None = None) -> Iterator[Item]:
    """The items, under a progress bar if one is wanted.

    Args:
        show: False for no bar at all.
        what: what is being done, beside the bar: ``"reading activations"``.
        total: how many items there are, where they cannot tell themselves.
    """
    if not show:
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    if total is None and isinstance(items, Sized):
        total = len(items)
    began = time.monotonic()
    # Standard output belongs to results, which may be piped on.
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, visible=False)
        for done, item in enumerate(items):
            yield item
            bar.update(task, completed=done + 1, visible=time.monotonic() - began > PATIENCE)
