"""Which block is running: what a mixer module that several blocks share has to know (Zamba's shared attention)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

_running: dict[int, int] = {}  # by thread: a run may be paused halfway while another one passes


def running_layer() -> int | None:
    """The layer whose block was entered last in this thread, of the blocks that are watched."""
    return _running.get(threading.get_ident())


def watch(blocks: Iterable[tuple[int, nn.Module]]) -> Callable[[], None]:
    """Keep `running_layer` true for these numbered blocks; return what ends it."""

    def entering(layer: int) -> Callable[..., None]:
        def entered(module: nn.Module, args: Any) -> None:
            _running[threading.get_ident()] = layer

        return entered

    handles = [block.register_forward_pre_hook(entering(layer)) for layer, block in blocks]

    def undo() -> None:
        for handle in handles:
            handle.remove()

    return undo
