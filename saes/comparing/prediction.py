"""How well a unit's best partners predict it together: ridge regression out of sums over tokens."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.saes.comparing.moments import CrossMoments

UNITS_AT_ONCE = 1024


class PartnerMoments:
    """Products of each unit of the first side with its partners, and of the partners with each other.

    Args:
        partners: for each unit of the first side, units of the second.
        begun: moments of the same text or other text, whose shift keeps the products small.
    """

    def __init__(self, partners: Int[Tensor, "units partners"], begun: CrossMoments) -> None:
        units, count = partners.shape
        assert begun.shift is not None
        self.partners, self.shift = partners, begun.shift
        self.count = 0
        # Each unit's own value stands beside its partners', and a one beside both, for the means.
        self.products = torch.zeros(units, count + 2, count + 2, dtype=torch.float64)

    def add(self, first: Float[Tensor, "places first"], second: Float[Tensor, "places second"]) -> None:
        """Count some tokens in."""
        a, b = first.cpu().double() - self.shift[0], second.cpu().double() - self.shift[1]
        self.count += len(a)
        for start in range(0, len(self.partners), UNITS_AT_ONCE):
            some = slice(start, start + UNITS_AT_ONCE)
            values = torch.stack([*b[:, self.partners[some]].unbind(2), a[:, some], torch.ones_like(a[:, some])], 2)
            self.products[some] += torch.einsum("tuk,tul->ukl", values, values)

    def _centred(self) -> Float[Tensor, "units partners_and_unit partners_and_unit"]:
        means = self.products[:, -1, :-1] / self.count
        return self.products[:, :-1, :-1] / self.count - means.unsqueeze(2) * means.unsqueeze(1)

    def ridge(self, penalty: float = 1e-3) -> Float[Tensor, "units partners"]:
        """Weights of each unit's partners, with a penalty relative to the partners' mean variance."""
        covariance = self._centred()
        gram, cross = covariance[:, :-1, :-1], covariance[:, :-1, -1]
        scale = gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30)
        identity = torch.eye(gram.shape[1], dtype=gram.dtype)
        weights: Tensor = torch.linalg.solve(gram + penalty * scale[:, None, None] * identity, cross)
        return weights

    def explained_by(self, weights: Float[Tensor, "units partners"]) -> Float[Tensor, " units"]:
        """R² of a prediction with these weights on the tokens counted here; NaN of units that never change on them.

        The mean is fitted here: what is asked is whether the two move together.
        """
        covariance = self._centred()
        variance = covariance[:, -1, -1]
        left = (
            variance
            - 2 * (weights * covariance[:, :-1, -1]).sum(1)
            + torch.einsum("uk,ukl,ul->u", weights, covariance[:, :-1, :-1], weights)
        )
        there = variance > 1e-12 * (self.products[:, -2, -2] / self.count)
        return torch.where(there, 1 - left / variance.clamp(min=1e-300), torch.full_like(variance, float("nan")))
