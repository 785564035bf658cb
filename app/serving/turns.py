"""Whose turn it is: a lock that is given out in the order it was asked for, and can say how many are ahead."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.progress import tell, tracked

LOOK = 0.1
"""Seconds between two looks of one who waits at whether it was cancelled."""


class Turns:
    """A lock for threads, first come first served; the thread that has it may take it again.

    Who waits reports to `workbench.progress`, so that a job can be cancelled while it waits.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: deque[int] = deque()
        self._depth = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and have it for the duration of a ``with`` block."""
        me = threading.get_ident()
        with self._changed:
            first = not (self._depth and self._line[0] == me)
            if first:
                self._line.append(me)
        try:
            if first:
                for _ in tracked(self._waits(me), False, "waiting for the model"):
                    pass
                tell("", 0, None)  # it waits no more
        except BaseException:
            self._leave(me)
            raise
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if first:
                self._leave(me)

    def ahead(self, thread: int | None) -> int:
        """How many have their turn before that thread; 0 where it has it, or does not wait."""
        with self._changed:
            return self._line.index(thread) if thread is not None and thread in self._line else 0

    def _waits(self, me: int) -> Iterator[None]:
        while True:
            with self._changed:
                if self._line[0] == me:
                    return
                self._changed.wait(LOOK)
            yield

    def _leave(self, me: int) -> None:
        with self._changed:
            self._line.remove(me)
            self._changed.notify_all()
