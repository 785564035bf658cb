"""Random draws, batched and the same on every machine for one generator of torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# Random numbers held at once while rows are drawn without replacement: 128 MB of float64.
_NUMBERS_AT_ONCE = 1 << 24


def distinct(generator: torch.Generator, rows: int, choices: int, count: int) -> Int[Tensor, "rows count"]:
    """In each row `count` different numbers below `choices`, in random order."""
    step = max(1, _NUMBERS_AT_ONCE // choices)
    parts = [
        torch.rand(min(step, rows - start), choices, generator=generator, dtype=torch.float64).topk(count).indices
        for start in range(0, rows, step)
    ]
    return torch.cat(parts)


def categorical(generator: torch.Generator, probabilities: Float[Tensor, "*shape outcomes"]) -> Int[Tensor, "*shape"]:
    """One outcome for each row of probabilities; outcomes of probability 0 never come."""
    flat = probabilities.flatten(0, -2)
    return torch.multinomial(flat, 1, generator=generator).view(probabilities.shape[:-1])


def dirichlet(
    generator: torch.Generator, rows: int, outcomes: int, concentration: float
) -> Float[Tensor, "rows outcomes"]:
    """Rows of a symmetric Dirichlet distribution, float64; an infinite concentration gives the uniform one."""
    if math.isinf(concentration):
        return torch.full((rows, outcomes), 1 / outcomes, dtype=torch.float64)
    # Torch draws from it without a generator of one's own only.
    seed = int(torch.randint(2**62, (1,), generator=generator))
    drawn = np.random.default_rng(seed).dirichlet(np.full(outcomes, concentration), size=rows)
    return torch.from_numpy(drawn)


def balanced(generator: torch.Generator, count: int, classes: int) -> Int[Tensor, " count"]:
    """`count` class numbers in random order, each class as often as any other, or once more."""
    return torch.randperm(count, generator=generator) % classes
