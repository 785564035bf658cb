"""Who corresponds to whom, from a table of correlations."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def one_to_one(scores: Float[Tensor, "first second"]) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """The pairing, each unit in one pair at most, with the largest sum of scores (Li et al. 2015, arXiv:1511.07543)."""
    from scipy.optimize import linear_sum_assignment

    # As costs in float64, which is what it works on: asked to maximise, it would make one more copy of its own.
    rows, columns = linear_sum_assignment(scores.to(torch.float64, copy=True).neg_().numpy())
    return torch.as_tensor(rows), torch.as_tensor(columns)


def best(
    scores: Float[Tensor, "first second"], count: int
) -> tuple[Float[Tensor, "first count"], Int[Tensor, "first count"]]:
    """The best partners of each unit of the first side, which may share them."""
    found = scores.topk(min(count, scores.shape[1]), dim=1)
    return found.values, found.indices


def mutual(scores: Float[Tensor, "first second"]) -> Tensor:
    """Which units of the first side are the best partner of their best partner."""
    theirs = scores.argmax(1)
    return scores.argmax(0)[theirs] == torch.arange(len(scores))
