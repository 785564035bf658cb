"""What a recurrent mixer carries from one call to the next, whoever keeps it.

Transformers and the zoo keep the same things while decoding: the last inputs of short convolutions and token shifts,
and the last state. They differ in where, in how many inputs, and in who allocates; mixers see neither.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import MutableMapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


class Memory(ABC):
    """One layer's memory during one forward pass: named tensors, of which ``state`` is the recurrence's."""

    @abstractmethod
    def get(self, name: str) -> Tensor | None:
        """What earlier calls left under `name`, or None."""

    @abstractmethod
    def set(self, name: str, value: Tensor) -> None:
        """Leave `value` for later calls."""

    @property
    def fresh(self) -> bool:
        """Whether a sequence begins with this call."""
        return self.get("state") is None

    def extend(
        self, inputs: Float[Tensor, "batch time channels"], taps: int, name: str = "conv"
    ) -> Float[Tensor, "batch past channels"]:
        """Remember `inputs` of a convolution with `taps` taps; return what came before them (at most ``taps - 1``).

        A token shift is a convolution of two taps.
        """
        kept = self.get(name)
        past = inputs[:, :0] if kept is None else kept.to(inputs.dtype)
        full = torch.cat([past, inputs], dim=1)
        self.set(name, full[:, max(0, full.shape[1] - (taps - 1)) :])
        return past


class NoMemory(Memory):
    """A forward pass without a cache: nothing comes before, nothing is kept."""

    def get(self, name: str) -> Tensor | None:
        return None

    def set(self, name: str, value: Tensor) -> None:
        return None

    def extend(
        self, inputs: Float[Tensor, "batch time channels"], taps: int, name: str = "conv"
    ) -> Float[Tensor, "batch past channels"]:
        return inputs[:, :0]


class DictMemory(Memory):
    """A layer of the zoo's cache: a dictionary."""

    def __init__(self, cache: MutableMapping[str, Tensor]) -> None:
        self._cache = cache

    def get(self, name: str) -> Tensor | None:
        return self._cache.get(name)

    def set(self, name: str, value: Tensor) -> None:
        self._cache[name] = value


class TransformersMemory(Memory):
    """A layer of a ``transformers`` cache (``DynamicCache`` and its relatives with linear-attention layers)."""

    def __init__(self, cache: Any, layer: int) -> None:
        self._cache = cache
        self._layer = layer
        # Read before `extend`, which marks the layer as having a past whether or not a state was ever stored.
        self._state = kept(cache, layer, "recurrent_states")

    def get(self, name: str) -> Tensor | None:
        if name != "state":
            raise KeyError(f"a transformers cache keeps a convolution and a state, not {name!r}")
        return self._state

    def set(self, name: str, value: Tensor) -> None:
        if name != "state":
            raise KeyError(f"a transformers cache keeps a convolution and a state, not {name!r}")
        self._cache.update_recurrent_state(value, self._layer)

    def extend(
        self, inputs: Float[Tensor, "batch time channels"], taps: int, name: str = "conv"
    ) -> Float[Tensor, "batch past channels"]:
        columns = inputs.transpose(1, 2)
        if isinstance(self._cache.layers[self._layer].conv_states, dict):
            full = self._cache.update_conv_state(columns, self._layer, conv_kernel_size=taps)
        else:  # transformers 5.9: the cache is given all that it is to keep, and returns only that
            before = kept(self._cache, self._layer, "conv_states")
            full = columns if before is None else torch.cat([before, columns], dim=-1)
            self._cache.update_conv_state(F.pad(full, (taps - full.shape[-1], 0)), self._layer)
        past: Tensor = full[..., : full.shape[-1] - inputs.shape[1]]
        return past[..., max(0, past.shape[-1] - (taps - 1)) :].transpose(1, 2)


def kept(cache: Any, layer: int, what: str) -> Tensor | None:
    """What a layer of a ``transformers`` cache keeps as ``conv_states`` or ``recurrent_states``; None before a call.

    Read from the layer itself, which was there before the cache's own methods for it.
    """
    holder = cache.layers[layer]
    seen, states = holder.has_previous_state, getattr(holder, what)
    if isinstance(states, dict):  # several a layer, of which mixers use the first
        seen, states = seen[0], states[0]
    found: Tensor | None = states if seen else None
    return found
