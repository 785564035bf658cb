"""What a zoo model remembers between decoding steps."""

from __future__ import annotations

from torch import Tensor


class LayerCache(dict[str, Tensor]):
    """One layer's memory by name: ``key`` and ``value`` for attention, ``conv`` and ``state`` for Mamba."""


class ZooCache:
    """One ``LayerCache`` a layer, and how many tokens have been seen."""

    def __init__(self, n_layers: int):
        self.layers = [LayerCache() for _ in range(n_layers)]
        self.seen = 0

    def get_seq_length(self) -> int:
        """Tokens seen so far, left padding included; the name is that of the Hugging Face caches."""
        return self.seen
