"""Markov chains: where they are in the long run, and what a reader who sees only emissions knows of them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def stationary(transition: Float[Tensor, "states states"]) -> Float[Tensor, " states"]:
    """The distribution that a chain with one recurrent class leaves as it is."""
    states = len(transition)
    kept = transition.double().T - torch.eye(states, dtype=torch.float64)
    system = torch.cat([kept, torch.ones(1, states, dtype=torch.float64)])
    target = torch.zeros(states + 1, 1, dtype=torch.float64)
    target[-1] = 1
    found: Tensor = torch.linalg.lstsq(system, target, driver="gelsd").solution[:, 0].clamp(min=0)
    return found / found.sum()


def forward_beliefs(
    start: Float[Tensor, " states"],
    transition: Float[Tensor, "states states"],
    emission: Float[Tensor, "states symbols"],
    symbols: Int[Tensor, "batch time"],
) -> Float[Tensor, "batch time states"]:
    """Probability of each hidden state after each symbol, given the symbols so far (the forward algorithm).

    Args:
        start: distribution of the state that emits the first symbol.
        transition: rows are the state before.
        emission: rows are the state that emits.
        symbols: what was seen.
    """
    expected = start.expand(len(symbols), -1)
    found = []
    for step in range(symbols.shape[1]):
        joint = expected * emission.T[symbols[:, step]]
        belief = joint / joint.sum(-1, keepdim=True)
        found.append(belief)
        expected = belief @ transition
    return torch.stack(found, dim=1)
