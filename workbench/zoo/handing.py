"""What one layer hands to later layers of the same forward pass, outside the residual stream.

RWKV-7 mixes the first layer's values into those of every later layer. The forward pass of a model opens an exchange,
layers leave tensors in it under a name, and it is gone when the pass ends. It belongs to the context (`contextvars`),
so passes that are paused halfway while another one runs do not meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from workbench.errors import InputError

_exchange: ContextVar[dict[str, Tensor] | None] = ContextVar("workbench_handing", default=None)


@contextmanager
def forward_pass() -> Iterator[None]:
    """Within this, layers can hand tensors to later ones."""
    token = _exchange.set({})
    try:
        yield
    finally:
        _exchange.reset(token)


def hand_on(name: str, value: Tensor) -> None:
    """Leave `value` for later layers; without a forward pass of a whole model there are none, and nothing is kept."""
    exchange = _exchange.get()
    if exchange is not None:
        exchange[name] = value


def handed_so_far() -> dict[str, Tensor]:
    """Everything that earlier layers of this forward pass have left; nothing outside of one."""
    return dict(_exchange.get() or {})


def handed_on(name: str) -> Tensor:
    """What an earlier layer of this forward pass left under `name`.

    Raises:
        InputError: no earlier layer did, because the layer was called on its own.
    """
    exchange = _exchange.get()
    if exchange is None or name not in exchange:
        raise InputError(
            f"This layer reads the {name} of the model's first layer, which has not run: call the whole model, or the "
            "layers in order inside workbench.zoo.handing.forward_pass()."
        )
    return exchange[name]
