"""Ending a forward pass before its last layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from workbench.errors import InputError


class Stopped(Exception):
    """Ends a forward pass early; caught by whoever started the pass.

    Attributes:
        residual: the residual stream where it ended, or None where something else was wanted.
    """

    def __init__(self, residual: Tensor | None = None) -> None:
        super().__init__()
        self.residual = residual


@contextmanager
def stopping(blocks: Sequence[nn.Module], stop_at_layer: int | None) -> Iterator[None]:
    """Raise `Stopped` where block `stop_at_layer` would begin; negative numbers count from the end, None never stops.

    Raises:
        InputError: there is no such layer.
    """
    if stop_at_layer is None:
        yield
        return
    layers = len(blocks)
    if not -layers <= stop_at_layer <= layers:
        raise InputError(f"stop_at_layer is {stop_at_layer}; it must be between 0 and {layers}.")
    stop = stop_at_layer + layers if stop_at_layer < 0 else stop_at_layer

    def at_input(module: nn.Module, args: Any, kwargs: Any) -> None:
        raise Stopped(args[0] if args else kwargs["hidden_states"])

    def at_output(module: nn.Module, args: Any, output: Any) -> None:
        raise Stopped(output[0] if isinstance(output, tuple) else output)

    if stop == 0:
        handle = blocks[0].register_forward_pre_hook(at_input, with_kwargs=True, prepend=True)
    else:
        handle = blocks[stop - 1].register_forward_hook(at_output)
    try:
        yield
    finally:
        handle.remove()
