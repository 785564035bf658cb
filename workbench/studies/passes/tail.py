"""From the last block's output to logits, at scored positions only.

The stock model's own end runs (final norm, unembedding, multipliers, soft caps), on a text that consists of the scored
positions: none of it mixes positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.model import HookedModel
from workbench.restarting import Entered, restarting


def tail_logits(
    model: HookedModel, entered: Entered, tokens: Int[Tensor, "batch time"], scored: Sequence[Sequence[int]]
) -> Iterator[Float[Tensor, "scored vocabulary"]]:
    """Each row's logits at its scored positions, row by row; at no time those of more positions than a row has.

    Args:
        entered: what enters the final norm, in every row.
        scored: of every row, positions of `tokens`.
    """
    start = 0
    while start < len(scored):
        end = start + 1
        while (
            end < len(scored)
            and len(scored[end]) == len(scored[start])
            and (end + 1 - start) * len(scored[start]) <= tokens.shape[1]
        ):
            end += 1
        rows = list(range(start, end))
        where = torch.tensor([list(scored[row]) for row in rows], device=tokens.device)
        with torch.no_grad(), restarting(model, entered.rows(rows).at(where)):
            logits = model(tokens[start:end].gather(1, where))
        yield from logits
        del logits  # before the next ones are there
        start = end
