"""Numbers as tokens: equally spaced levels, each standing for the numbers nearest to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Quantiser:
    """Levels from `low` to `high`; numbers beyond the ends belong to the end levels.

    Attributes:
        low: the lowest level's number.
        high: the highest level's number.
        levels: how many there are, at least 2.
    """

    low: float
    high: float
    levels: int

    @property
    def numbers(self) -> Float[Tensor, " levels"]:
        """The number that each level stands for."""
        return torch.linspace(self.low, self.high, self.levels, dtype=torch.float64)

    @property
    def step(self) -> float:
        """The distance between two levels."""
        return (self.high - self.low) / (self.levels - 1)

    def encode(self, numbers: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The level nearest to each number."""
        return ((numbers - self.low) / self.step).round().long().clamp(0, self.levels - 1)

    def decode(self, levels: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The number that each level stands for."""
        return self.numbers[levels]

    def chances(
        self, means: Float[Tensor, "*shape"], deviations: float | Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape levels"]:
        """Probability of each level for normal variables, exactly: the mass between the midpoints of the levels.

        Args:
            means: of the variables.
            deviations: their standard deviations; a single 0 puts all mass on the level nearest to the mean.
        """
        if isinstance(deviations, float | int):
            if deviations == 0:
                return torch.nn.functional.one_hot(self.encode(means), self.levels).double()
            deviations = torch.full_like(means, deviations)
        middles = (self.numbers[1:] + self.numbers[:-1]) / 2
        # Both tails, so that the mass far above the mean is not lost to 1 - 1.
        away = (middles - means[..., None].double()) / deviations[..., None].double()
        # By its logarithm: torch's own ndtr is 0 from six deviations below the mean on.
        below, above = torch.special.log_ndtr(away).exp(), torch.special.log_ndtr(-away).exp()
        ends = torch.zeros_like(below[..., :1])
        low, high = torch.cat([ends, below], dim=-1), torch.cat([below, ends + 1], dim=-1)
        high_tail, low_tail = torch.cat([above, ends], dim=-1), torch.cat([ends + 1, above], dim=-1)
        return torch.where(low < 0.5, high - low, low_tail - high_tail)
