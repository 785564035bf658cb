"""What forward passes cost in multiplications, with everything below an edit computed again or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from workbench.families.base import BlockLayout, MixerAdapter
from workbench.model import HookedModel


@dataclass(frozen=True)
class Costs:
    """Multiply-adds of a model's parts, a token each.

    Attributes:
        layers: of each layer's matrices and of its recurrence. Every expert of a mixture counts, chosen or not.
        sources: of each layer for every token that a token may read (queries times keys, pattern times values); 0 for
            recurrent layers.
        unembedding: of the matrix that makes logits.
    """

    layers: tuple[float, ...]
    sources: tuple[float, ...]
    unembedding: float

    def plain(self, tokens: int) -> float:
        """A whole forward pass over one row, logits everywhere: what a plain loop with hooks does for every unit."""
        return self.restarted(0, tokens, tokens)

    def restarted(self, first: int, tokens: int, scored: int) -> float:
        """One row from layer `first` on, with logits at the scored positions only.

        Of those before it and itself, a token reads (tokens + 1) / 2 on average.
        """
        layers, sources = self._from[first]
        return tokens * (layers + sources * (tokens + 1) / 2) + scored * self.unembedding

    @cached_property
    def _from(self) -> list[tuple[float, float]]:
        """Sums of `layers` and `sources` from each layer on."""
        sums = [(0.0, 0.0)]
        for layer, sources in zip(reversed(self.layers), reversed(self.sources), strict=True):
            sums.append((sums[-1][0] + layer, sums[-1][1] + sources))
        return sums[::-1]

    def as_json(self) -> dict[str, Any]:
        """For `costs_of`."""
        return asdict(self)


def costs_of(given: dict[str, Any]) -> Costs:
    """The costs that `Costs.as_json` gave."""
    return Costs(tuple(given["layers"]), tuple(given["sources"]), given["unembedding"])


def model_costs(model: HookedModel) -> Costs:
    """Count a model's matrices."""
    return Costs(
        layers=tuple(float(_matrices(block)) for block in model.layout.blocks),
        sources=tuple(float(_per_source(block)) for block in model.layout.blocks),
        unembedding=float(model.cfg.d_vocab * model.cfg.d_model),
    )


def _matrices(block: BlockLayout) -> int:
    weights = sum(parameter.numel() for parameter in block.block.parameters() if parameter.dim() > 1)
    # An entry of the state is decayed, written to and read.
    states = sum(3 * a.n_heads * a.d_value * _state_rows(a) for a in _adapters(block) if a.recurrent)
    return weights + states


def _per_source(block: BlockLayout) -> int:
    return sum(2 * a.n_heads * a.d_value for a in _adapters(block) if not a.recurrent)


def _adapters(block: BlockLayout) -> Iterable[MixerAdapter]:
    return (mixer.adapter for mixer in block.mixers)


def _state_rows(adapter: MixerAdapter) -> int:
    return int(getattr(adapter, "d_key", adapter.d_value))
