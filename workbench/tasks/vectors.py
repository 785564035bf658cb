"""Linear regression in context with real vectors, for a model that reads its embeddings from outside.

Garg et al. 2022, "What Can Transformers Learn In-Context? A Case Study of Simple Function Classes", section 2: points
and values alternate, a point as the first coordinates of a vector and a value as the very first, the others zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.alphabet import check_sizes
from workbench.tasks.functions import least_squares


@dataclass(frozen=True)
class RegressionVectors:
    """Points and values as vectors, with the best predictions.

    Attributes:
        vectors: x1 y1 x2 y2 ..., to be put where a model embeds its tokens, such as by a hook on ``hook_embed``. What a
            model says of value n is read at position ``2 n``, counted from 0.
        values: the values.
        least_squares: prediction of each value from those before it, by the shortest of the best weights.
        bayes: mean of each value given those before it, exactly, for normal weights of variance 1 and normal noise.
        weights: of each sequence's function.
    """

    vectors: Float[Tensor, "batch time width"]
    values: Float[Tensor, "batch examples"]
    least_squares: Float[Tensor, "batch examples"]
    bayes: Float[Tensor, "batch examples"]
    weights: Float[Tensor, "batch dimensions"]

    def squared_error(self, predictions: Float[Tensor, "batch examples"]) -> Float[Tensor, " examples"]:
        """Mean over sequences of the squared error of predictions, an example at a time."""
        return (predictions.to(self.values) - self.values).square().mean(0)


def regression_vectors(
    dimensions: int = 4,
    examples: int = 16,
    *,
    width: int | None = None,
    noise: float = 0.0,
    batch: int = 32,
    seed: int = 0,
) -> RegressionVectors:
    """Points with normal coordinates and values y = w x + noise, with new normal weights w in each sequence.

    Args:
        dimensions: coordinates of a point.
        examples: points of a sequence.
        width: of the vectors, such as a model's ``cfg.d_model``; `dimensions` by default.
        noise: standard deviation of what is added to each value.
        batch: independent sequences.
        seed: the same seed gives the same vectors.

    Returns:
        float64 tensors on the CPU.

    Raises:
        InputError: a size out of range, or a width that does not hold a point.
    """
    name = "regression_vectors"
    check_sizes(name, dimensions=dimensions, examples=examples, batch=batch)
    wide = dimensions if width is None else width
    check_sizes(name, dimensions, width=wide)
    if not 0 <= noise < float("inf"):
        raise InputError(f"noise is {noise}; a standard deviation is needed.")
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(batch, dimensions, generator=generator, dtype=torch.float64)
    points = torch.randn(batch, examples, dimensions, generator=generator, dtype=torch.float64)
    shaken = noise * torch.randn(batch, examples, generator=generator, dtype=torch.float64)
    values = torch.einsum("bnd,bd->bn", points, weights) + shaken
    vectors = torch.zeros(batch, examples, 2, wide, dtype=torch.float64)
    vectors[:, :, 0, :dimensions] = points
    vectors[:, :, 1, 0] = values
    fitted = least_squares(points, values)
    return RegressionVectors(vectors.flatten(1, 2), values, fitted, _posterior_mean(points, values, noise), weights)


def _posterior_mean(
    points: Float[Tensor, "batch examples dimensions"], values: Float[Tensor, "batch examples"], noise: float
) -> Float[Tensor, "batch examples"]:
    """Ridge regression on the examples before each; without noise it is least squares with the shortest weights."""
    if noise == 0:
        return least_squares(points, values)
    outer = torch.einsum("bnd,bne->bnde", points, points)
    crossed = points * values[..., None]
    precision = outer.cumsum(1) - outer + noise**2 * torch.eye(points.shape[-1], dtype=torch.float64)
    weights = torch.linalg.solve(precision, (crossed.cumsum(1) - crossed)[..., None])[..., 0]
    found: Tensor = (points * weights).sum(-1)
    return found
