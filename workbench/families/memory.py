"""What a recurrent mixer carries from one call to the next, whoever keeps it.

Transformers and the zoo keep the same two things while decoding: the last inputs of the short convolution and the last
state. They differ in where, in how many inputs, and in who allocates; adapters see neither.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Memory(ABC):
    """One layer's memory during one forward pass; `state` is what the layer remembered when the pass began."""

    state: Float[Tensor, "batch heads ..."] | None = None

    @abstractmethod
    def extend(self, inputs: Float[Tensor, "batch channels time"], taps: int) -> Float[Tensor, "batch channels past"]:
        """Remember `inputs` of a convolution with `taps` taps; return what came before them (at most ``taps - 1``)."""

    @abstractmethod
    def store(self, state: Float[Tensor, "batch heads ..."]) -> None:
        """Remember the final state, in the layout of the cache that owns it."""


class NoMemory(Memory):
    """A forward pass without a cache: nothing comes before, nothing is kept."""

    def extend(self, inputs: Float[Tensor, "batch channels time"], taps: int) -> Float[Tensor, "batch channels past"]:
        return inputs[..., :0]

    def store(self, state: Float[Tensor, "batch heads ..."]) -> None:
        return None


class TransformersMemory(Memory):
    """A layer of a ``transformers`` cache (``DynamicCache`` and its relatives with linear-attention layers)."""

    def __init__(self, cache: Any, layer: int) -> None:
        self._cache = cache
        self._layer = layer
        # Read before `extend`, which marks the layer as having a past whether or not a state was ever stored.
        self.state = cache.get_recurrent_state(layer)

    def extend(self, inputs: Float[Tensor, "batch channels time"], taps: int) -> Float[Tensor, "batch channels past"]:
        full = self._cache.update_conv_state(inputs, self._layer, conv_kernel_size=taps)
        past: Tensor = full[..., : full.shape[-1] - inputs.shape[-1]]
        return past[..., max(0, past.shape[-1] - (taps - 1)) :]

    def store(self, state: Float[Tensor, "batch heads ..."]) -> None:
        self._cache.update_recurrent_state(state, self._layer)


class ZooMemory(Memory):
    """A layer of the zoo's cache: a dictionary with ``conv`` ``[batch, taps - 1, channels]`` and ``state``."""

    def __init__(self, cache: dict[str, Tensor]) -> None:
        self._cache = cache
        self.state = cache.get("state")

    def extend(self, inputs: Float[Tensor, "batch channels time"], taps: int) -> Float[Tensor, "batch channels past"]:
        kept = self._cache.get("conv")
        past = inputs.new_zeros(*inputs.shape[:2], taps - 1) if kept is None else kept.transpose(1, 2)
        full = torch.cat([past, inputs], dim=-1)
        self._cache["conv"] = full[..., full.shape[-1] - (taps - 1) :].transpose(1, 2)
        return past

    def store(self, state: Float[Tensor, "batch heads ..."]) -> None:
        self._cache["state"] = state
