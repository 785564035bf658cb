"""Least squares from running sums: any number of examples in the memory of a few matrices."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError


class AffineMap(NamedTuple):
    """``y = x W + b``, in float64.

    Attributes:
        weight: ``W``.
        bias: ``b``, zeros where none was fitted.
    """

    weight: Float[Tensor, "features targets"]
    bias: Float[Tensor, " targets"]

    def __call__(self, x: Float[Tensor, "*positions features"]) -> Float[Tensor, "*positions targets"]:
        """The map of `x`, computed and returned in float32 at least."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return wide @ self.weight.to(wide) + self.bias.to(wide)


class LeastSquares:
    """Sums of products of features and targets, in float64, out of which linear maps are solved.

    Attributes:
        examples: how many there have been.
    """

    def __init__(self, features: int, targets: int, device: torch.device | str = "cpu") -> None:
        self.examples = 0
        wide = {"dtype": torch.float64, "device": torch.device(device)}
        self._x, self._y = torch.zeros(features, **wide), torch.zeros(targets, **wide)  # type: ignore[call-overload]
        self._xx = torch.zeros(features, features, **wide)  # type: ignore[call-overload]
        self._xy = torch.zeros(features, targets, **wide)  # type: ignore[call-overload]

    def add(self, x: Float[Tensor, "examples features"], y: Float[Tensor, "examples targets"]) -> None:
        """Take more examples into the sums."""
        wide_x, wide_y = x.to(self._x), y.to(self._y)
        self.examples += len(x)
        self._x += wide_x.sum(0)
        self._y += wide_y.sum(0)
        self._xx.addmm_(wide_x.T, wide_x)
        self._xy.addmm_(wide_x.T, wide_y)

    def solve(self, *, bias: bool = True, ridge: float = 0.0, rank: int | None = None) -> AffineMap:
        """The map with the least squared error over all examples.

        Args:
            bias: with a constant, which ridge leaves alone.
            ridge: penalty on ``|W|^2`` as a share of the features' mean variance (mean square without `bias`), an
                example each; 0 gives the map of least norm among the best ones.
            rank: of ``W`` at most: the best approximation of what the full map makes of these examples (reduced-rank
                regression, Izenman 1975, with an identity weight).

        Raises:
            InputError: no examples, a negative ridge, or a rank below 1.
        """
        if self.examples == 0:
            raise InputError("There are no examples to fit a map to.")
        if ridge < 0 or (rank is not None and rank < 1):
            raise InputError(f"ridge is {ridge} and rank is {rank}; neither is negative, and a rank is at least 1.")
        xx, xy = self._xx / self.examples, self._xy / self.examples
        mean_x, mean_y = self._x / self.examples, self._y / self.examples
        if bias:
            xx, xy = xx - torch.outer(mean_x, mean_x), xy - torch.outer(mean_x, mean_y)
        if ridge > 0:
            loaded = xx.clone()
            loaded.diagonal().add_(ridge * float(xx.diagonal().mean()))
            factor, failed = torch.linalg.cholesky_ex(loaded)
            weight = _least_norm(loaded, xy) if int(failed) else torch.cholesky_solve(xy, factor)
        else:
            weight = _least_norm(xx, xy)
        if rank is not None and rank < min(weight.shape):
            _, directions = torch.linalg.eigh(weight.T @ xx @ weight)
            kept = directions[:, -rank:]
            weight = weight @ kept @ kept.T
        constant = mean_y - mean_x @ weight if bias else torch.zeros_like(mean_y)
        return AffineMap(weight, constant)


def _least_norm(
    xx: Float[Tensor, "features features"], xy: Float[Tensor, "features targets"]
) -> Float[Tensor, "features targets"]:
    """``pinv(xx) xy``: directions in which the features do not vary are left out."""
    values, vectors = torch.linalg.eigh(xx)
    # Sums of products have half the digits of the features: below that a direction is rounding.
    real = values > values.max().clamp(min=0) * len(values) * torch.finfo(xx.dtype).eps
    inverse = torch.where(real, 1 / values.where(real, torch.ones_like(values)), 0)
    solved: Tensor = vectors @ (inverse[:, None] * (vectors.T @ xy))
    return solved
