"""Finite machines that write and that judge: tables of what follows a state on a symbol, walked for a whole batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.tasks.sampling import categorical


@dataclass(frozen=True)
class Automaton:
    """Deterministic machines with a distribution over the next symbol in each state; one machine a sequence, or one.

    Attributes:
        following: the state after a symbol; anything where the symbol cannot come.
        probabilities: of each symbol in each state; 0 where it is not legal.
        start: the state before the first symbol.
    """

    following: Int[Tensor, "machines states symbols"]
    probabilities: Float[Tensor, "machines states symbols"]
    start: int = 0

    def walk(
        self, generator: torch.Generator, batch: int, time: int
    ) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
        """Symbols that the machines write, and the state after each; a single machine writes every sequence."""
        machine = torch.arange(batch) if len(self.following) > 1 else torch.zeros(batch, dtype=torch.long)
        state = torch.full((batch,), self.start)
        symbols, states = [], []
        for _ in range(time):
            symbol = categorical(generator, self.probabilities[machine, state])
            state = self.following[machine, state, symbol]
            symbols.append(symbol)
            states.append(state)
        return torch.stack(symbols, dim=1), torch.stack(states, dim=1)

    def predictions(self, states: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time symbols"]:
        """The exact distribution of the symbol after each state."""
        machine = torch.arange(len(states)) if len(self.following) > 1 else torch.zeros(len(states), dtype=torch.long)
        return self.probabilities[machine[:, None], states]


def uniform_over(legal: Tensor) -> Float[Tensor, "*shape symbols"]:
    """Equal probabilities for the legal symbols of each state."""
    return legal.double() / legal.sum(-1, keepdim=True)
