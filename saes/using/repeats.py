"""How repetitive a text is, in one number."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError


def repeated_ngrams(tokens: Int[Tensor, "batch time"], n: int = 4) -> Float[Tensor, " batch"]:
    """The repetition score ``seq-rep-n``: the share of a text's n-grams that occurred in it before.

    ``1 - |distinct n-grams| / |n-grams|`` (Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training",
    arXiv:1908.04319, section 6): 0 where none occurs twice, towards 1 in a loop. A text shorter than `n` has none.

    Raises:
        InputError: `n` below 1.
    """
    if n < 1:
        raise InputError(f"n is {n}; n-grams have at least one token.")
    count = tokens.shape[1] - n + 1
    if count < 1:
        return torch.zeros(len(tokens), dtype=torch.float64)
    grams = tokens.cpu().unfold(1, n, 1)
    distinct = torch.tensor([len(torch.unique(row, dim=0)) for row in grams], dtype=torch.float64)
    return 1 - distinct / count
