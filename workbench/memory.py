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
        self._state: Tensor | None = cache.get_recurrent_state(layer)

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
        full = self._cache.update_conv_state(inputs.transpose(1, 2), self._layer, conv_kernel_size=taps)
        past: Tensor = full[..., : full.shape[-1] - inputs.shape[1]]
        return past[..., max(0, past.shape[-1] - (taps - 1)) :].transpose(1, 2)
