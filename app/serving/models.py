"""The models of the server: at most two at a time, each lent to one computation at a time."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workbench.app.serving.sources import called
from workbench.app.serving.turns import Turns
from workbench.progress import tracked

if TYPE_CHECKING:
    from workbench.model import HookedModel

ROOM = 2
"""Models held at once: model A and model B."""


class Shelf:
    """Loads models when they are first asked for and gives back the one used longest ago when room is needed.

    Hooks are state of a model, so whoever runs it has it alone: one session's edit is never in another's pass. There
    is one line for all models, since they share the processor.

    A load cannot be stopped, and nothing else may compute meanwhile: it sets PyTorch's default dtype for the whole
    process. Where its job is cancelled it goes on and has the turn until it ends. Its model is kept then, for who asks
    again, and is the first to go where room is needed.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._models: OrderedDict[str, HookedModel] = OrderedDict()
        self._turns = Turns()
        self._loading: str | None = None

    @property
    def loading(self) -> str | None:
        """The source that is being loaded now."""
        return self._loading

    @contextmanager
    def lend(self, source: str) -> Iterator[HookedModel]:
        """A model, for the duration of a ``with`` block, to nobody else. Who waits for it can be cancelled.

        Raises:
            WorkbenchError: it cannot be loaded.
        """
        with self._turns.taken():
            yield self._get(source)

    def ahead(self, thread: int | None) -> int:
        """How many computations come before the one of that thread."""
        return self._turns.ahead(thread)

    def loaded(self) -> list[str]:
        """Sources of the models that are held, the one used last at the end."""
        return list(self._models)

    def drop(self, source: str) -> None:
        """Give a model back."""
        with self._turns.taken():
            self._models.pop(source, None)
            gc.collect()  # a hooked module refers to itself

    def _get(self, source: str) -> HookedModel:
        if source not in self._models:
            import workbench as wb

            # Before it is loaded, so that there are never more than there is room for.
            while len(self._models) >= self._room:
                self._models.popitem(last=False)
                gc.collect()
            self._loading = source
            try:
                for _ in tracked([source], False, f"loading {called(source)}"):
                    self._models[source] = wb.load(source)
                    self._models.move_to_end(source, last=False)  # where this is cancelled it is the first to go
            finally:
                self._loading = None
        self._models.move_to_end(source)
        return self._models[source]
