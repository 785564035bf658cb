"""n-gram predictors that learn from the context alone: what a language costs whoever only counts.

The distribution of order n is that of order n - 1 and the counts after the last n - 1 tokens, mixed as Witten and Bell
do (1991, "The zero-frequency problem", method C): the counts weigh as many as there are, the lower order as many as
there were different followers. Order 0 is uniform. These are the baselines of Akyürek et al. 2024, "In-Context
Language Learning: Architectures and Algorithms".
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.tasks.base import Task


def in_context_ngrams(
    symbols: Int[Tensor, "batch time"], outcomes: int, order: int
) -> Float[Tensor, "batch time outcomes"]:
    """After each symbol, what an n-gram predictor that has read the sequence so far expects next.

    Memory grows with the square of the length.

    Args:
        symbols: numbers below `outcomes`.
        outcomes: different symbols.
        order: n; 1 counts symbols, 2 what followed the current symbol, and so on.

    Raises:
        InputError: `order` is below 0.
    """
    if order < 0:
        raise InputError(f"order is {order}; an n-gram predictor needs order >= 0.")
    batch, time = symbols.shape
    found = torch.full((batch, time, outcomes), 1 / outcomes, dtype=torch.float64)
    # Entry [t, s]: the n - 1 symbols up to t are those before s, and s has been read: s is a follower to count.
    same = torch.ones(time, time, dtype=torch.bool).tril()[None].expand(batch, -1, -1)
    coming = torch.nn.functional.one_hot(symbols, outcomes).float()
    for n in range(1, order + 1):
        if n > 1:
            back = n - 2
            equal = torch.zeros(batch, time, time, dtype=torch.bool)
            if time > back + 1:
                equal[:, back:, back + 1 :] = symbols[:, : time - back, None] == symbols[:, None, : time - back - 1]
            same = same & equal
        # Counts below 2 ** 24 are exact in float32, at half the memory of the largest array here.
        counts = (same.float() @ coming).double()
        total, kinds = counts.sum(-1, keepdim=True), (counts > 0).sum(-1, keepdim=True)
        found = torch.where(total > 0, (counts + kinds * found) / (total + kinds).clamp(min=1), found)
    return found


@checked_call
def ngram_predictions(task: Task, order: int) -> Float[Tensor, "batch scored outcomes"]:
    """The n-gram predictor on a task whose outcomes are known, at its scored positions; see `in_context_ngrams`.

    Hand it to `score_predictions` to have its loss and divergence beside a model's.

    Raises:
        InputError: the task has no `outcomes`, or its text holds other tokens.
    """
    if task.outcomes is None:
        raise InputError(f"Task {task.name!r} does not say which tokens can come, so that none can be counted.")
    first = int(task.positions.min())
    place = task.tokens[:, first:, None] == task.outcomes
    if not bool(place.any(-1).all()):
        raise InputError(f"Task {task.name!r} has tokens that are none of its outcomes.")
    symbols = place.int().argmax(-1).cpu()
    every = in_context_ngrams(symbols, len(task.outcomes), order)
    at = (task.positions - first).cpu()
    return every.gather(1, at[..., None].expand(-1, -1, every.shape[-1]))
