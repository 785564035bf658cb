"""Emissions of hidden Markov models of three shapes, with the exact predictor and what it believes.

Fully connected, cyclic and chain-shaped hidden processes leave different dynamics in a trained RNN. What an optimal
reader carries from step to step is its belief about the hidden state (Shai et al. 2024, "Transformers Represent Belief
State Geometry in their Residual Stream"), which the forward algorithm computes (Rabiner 1989, equations 19 to 20).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_choice, check_sizes
from workbench.tasks.base import SHARED, Task
from workbench.tasks.chains import forward_beliefs, stationary
from workbench.tasks.registry import register_task
from workbench.tasks.sampling import categorical, dirichlet

SHAPES = ("full", "cyclic", "chain")


@dataclass(frozen=True, kw_only=True, repr=False)
class HiddenMarkov(Task):
    """Emissions with the process behind them.

    Attributes:
        transition: probability of the column's hidden state after the row's.
        emission: probability of the column's outcome in the row's hidden state.
        beliefs: probability of each hidden state at each scored position, given the text up to it.
    """

    transition: Float[Tensor, "hidden hidden"] = field(metadata=SHARED)
    emission: Float[Tensor, "hidden outcomes"] = field(metadata=SHARED)
    beliefs: Float[Tensor, "batch scored hidden"]


@register_task("hidden_markov", measures="dynamics of a recurrent state, belief states")
def hidden_markov(
    vocabulary: Any,
    shape: str = "cyclic",
    *,
    hidden: int = 5,
    symbols: int = 8,
    time: int = 128,
    stay: float = 0.2,
    concentration: float = 0.2,
    process_seed: int = 0,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> HiddenMarkov:
    """Emissions of one hidden Markov model, which starts in its stationary distribution.

    From a hidden state the process stays with a probability, or moves: in a ``"full"`` one to any state, by a random
    distribution for each; in a ``"cyclic"`` one to the next, from the last to the first; in a ``"chain"`` to either
    neighbour alike, at an end to the only one. Each state emits by a random distribution of its own. `probabilities` is
    exact for whoever knows the process; `states` is the hidden state that emitted each token.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        shape: ``"full"``, ``"cyclic"`` or ``"chain"``.
        hidden: hidden states.
        symbols: different tokens.
        time: tokens of a sequence.
        stay: probability of staying in a hidden state.
        concentration: of the Dirichlet distribution that emissions come from; small ones tell the states apart.
        process_seed: decides the process, whatever `seed` is.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, an unknown shape, too few tokens, or more tokens than the model's context.
    """
    name = "hidden_markov"
    check_choice(name, "shape", shape, SHAPES)
    check_sizes(name, 2, hidden=hidden, symbols=symbols, time=time)
    check_sizes(name, batch=batch)
    if not 0 <= stay < 1:
        raise InputError(f"stay is {stay}; a probability below 1 is needed.")
    if not concentration > 0:
        raise InputError(f"concentration is {concentration}; a number above 0 is needed.")
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    (outcomes,) = alphabet.parts(symbols=symbols)
    process = torch.Generator().manual_seed(process_seed)
    emission = dirichlet(process, hidden, symbols, concentration)
    transition = stay * torch.eye(hidden, dtype=torch.float64) + (1 - stay) * _moves(process, shape, hidden)
    start = stationary(transition)

    generator = torch.Generator().manual_seed(seed)
    state = categorical(generator, start.expand(batch, -1))
    passed = [state]
    for _ in range(time - 1):
        state = categorical(generator, transition[state])
        passed.append(state)
    states = torch.stack(passed, dim=1)
    drawn = categorical(generator, emission[states])
    beliefs = forward_beliefs(start, transition, emission, drawn)[:, :-1]
    steps = torch.arange(time - 1).repeat(batch, 1)
    return alphabet.finish(
        HiddenMarkov(
            name=name,
            tokens=outcomes[drawn],
            positions=steps,
            answers=outcomes[drawn[:, 1:]],
            sources=torch.full_like(steps, -1),
            labels=torch.zeros_like(steps),
            label_names=("emission",),
            outcomes=outcomes,
            probabilities=(beliefs @ transition @ emission),
            states=states,
            transition=transition,
            emission=emission,
            beliefs=beliefs,
        )
    )


def _moves(generator: torch.Generator, shape: str, hidden: int) -> Float[Tensor, "hidden hidden"]:
    """Where a process goes that does not stay."""
    if shape == "full":
        return dirichlet(generator, hidden, hidden, 1.0)
    moves = torch.zeros(hidden, hidden, dtype=torch.float64)
    states = torch.arange(hidden)
    if shape == "cyclic":
        moves[states, (states + 1) % hidden] = 1
        return moves
    moves[states[:-1], states[1:]] = 1
    moves[states[1:], states[:-1]] = 1
    return moves / moves.sum(1, keepdim=True)
