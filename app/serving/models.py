"""The models of the server: at most two at a time, each lent to one computation at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.model import HookedModel

ROOM = 2
"""Models held at once: model A and model B."""


class Shelf:
    """Loads models when they are first asked for and gives back the one used longest ago when room is needed.

    Hooks are state of a model, so whoever runs it has it alone: one session's edit is never in another's pass. There
    is one lock for all models, since they share the processor.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._models: OrderedDict[str, HookedModel] = OrderedDict()
        self._lock = threading.RLock()
        self._waiting = 0
        self._counting = threading.Lock()

    @contextmanager
    def lend(self, source: str) -> Iterator[HookedModel]:
        """A model, for the duration of a ``with`` block, to nobody else.

        Raises:
            WorkbenchError: it cannot be loaded.
        """
        with self._counting:
            self._waiting += 1
        try:
            self._lock.acquire()
        finally:
            with self._counting:
                self._waiting -= 1
        try:
            yield self._get(source)
        finally:
            self._lock.release()

    @property
    def waiting(self) -> int:
        """How many computations wait for their turn."""
        return self._waiting

    def loaded(self) -> list[str]:
        """Sources of the models that are held, the one used last at the end."""
        return list(self._models)

    def drop(self, source: str) -> None:
        """Give a model back."""
        with self._lock:
            self._models.pop(source, None)

    def _get(self, source: str) -> HookedModel:
        found = self._models.get(source)
        if found is None:
            import workbench as wb

            while len(self._models) >= self._room:
                self._models.popitem(last=False)
            found = self._models[source] = wb.load(source)
        self._models.move_to_end(source)
        return found
