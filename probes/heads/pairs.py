"""Places of the implicit attention matrix that define what a head reads, and the places they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError


@dataclass(frozen=True)
class DefiningPairs:
    """Places (destination, source) of the implicit attention matrix that define a kind of head.

    Either the same in every sequence, ``[pairs]``, or a row of places a sequence, ``[batch, pairs]``. A destination may
    have several sources, whose shares are added; a sequence with fewer pairs than others is filled up with weight 0.

    Attributes:
        query: destinations.
        key: the source that a perfect head of this kind reads at each destination.
        weight: what each share is multiplied with before the shares of a destination are added; None means 1.

    Raises:
        InputError: the shapes differ.
    """

    query: Int[Tensor, "*batch pairs"]
    key: Int[Tensor, "*batch pairs"]
    weight: Float[Tensor, "*batch pairs"] | None = None

    def __post_init__(self) -> None:
        for other in (self.key, self.weight):
            if other is not None and other.shape != self.query.shape:
                raise InputError(f"{[*self.query.shape]} destinations do not pair up with {[*other.shape]}.")

    @property
    def weights(self) -> Float[Tensor, "*batch pairs"]:
        """Each pair's weight."""
        return torch.ones_like(self.query, dtype=torch.float32) if self.weight is None else self.weight

    @property
    def averaging(self) -> Float[Tensor, "*batch pairs"]:
        """Each pair's weight divided by how many destinations its sequence has: what makes a score out of shares.

        Raises:
            InputError: a sequence has no destination.
        """
        weights = self.weights.double()
        counts = [_distinct(row, kept) for row, kept in zip(_rows(self.query), _rows(weights > 0), strict=True)]
        if not all(counts):
            raise InputError("A sequence has no place at which this kind of head could be seen; take a longer block.")
        divisor = weights.new_tensor(counts)
        return weights / (divisor[:, None] if weights.ndim == 2 else divisor)

    def shifted(self, shift: int) -> DefiningPairs:
        """The same destinations with sources `shift` tokens later; places that are no places any more are left out."""
        moved = self.key + shift
        inside = self._inside(shift)
        if moved.ndim == 1:
            return DefiningPairs(
                self.query[inside], moved[inside], None if self.weight is None else self.weight[inside]
            )
        return DefiningPairs(self.query, torch.where(inside, moved, 0), self.weights * inside)

    def causal_share(self, shift: int) -> float:
        """Which part of the pairs is left after `shifted`."""
        counted = self.weights > 0
        return float((self._inside(shift) & counted).sum() / counted.sum().clamp(min=1))

    @property
    def reach(self) -> int:
        """No shift by more than this leaves a place in any sequence."""
        return int((self.query - self.key).max()) + int(self.key.max()) if self.query.numel() else 0

    def _inside(self, shift: int) -> Bool[Tensor, "*batch pairs"]:
        moved = self.key + shift
        return (moved >= 0) & (moved <= self.query)


def joined(several: Sequence[DefiningPairs]) -> tuple[DefiningPairs, Int[Tensor, " pairs"]]:
    """Several lists of pairs as one, with their averaging weights, and the list that each pair comes from."""
    one = DefiningPairs(
        torch.cat([pairs.query for pairs in several], dim=-1),
        torch.cat([pairs.key for pairs in several], dim=-1),
        torch.cat([pairs.averaging for pairs in several], dim=-1),
    )
    lengths = torch.tensor([pairs.query.shape[-1] for pairs in several], device=one.query.device)
    return one, torch.repeat_interleave(torch.arange(len(several), device=one.query.device), lengths)


def in_order(pairs: DefiningPairs, origin: Int[Tensor, " pairs"]) -> tuple[DefiningPairs, Int[Tensor, " pairs"]]:
    """The same places by destination, then source: neighbours share what a convolution before the mixer reads.

    Places that differ from sequence to sequence stay as they are.
    """
    if pairs.query.ndim == 2 or not pairs.query.numel():
        return pairs, origin
    order = torch.argsort(pairs.query * (pairs.key.max() + 1) + pairs.key, stable=True)
    weight = None if pairs.weight is None else pairs.weight[order]
    return DefiningPairs(pairs.query[order], pairs.key[order], weight), origin[order]


def _rows(x: Tensor) -> list[Tensor]:
    return [*x] if x.ndim == 2 else [x]


def _distinct(query: Int[Tensor, " pairs"], kept: Bool[Tensor, " pairs"]) -> int:
    return len(query[kept].unique())
