"""In-context languages: strings of a random probabilistic automaton, a new one for each sequence.

Akyürek et al. 2024, "In-Context Language Learning: Architectures and Algorithms": what a model gains over the uniform
distribution it must have learned from the sequence itself, and n-gram heads are how Transformers do it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.automata import Automaton
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task
from workbench.tasks.sampling import dirichlet, distinct


@dataclass(frozen=True, kw_only=True, repr=False)
class InContextLanguages(Task):
    """Strings with the automaton that wrote them.

    Attributes:
        following: the state after each symbol in each state; the last symbol ends a string and leads back to state 0.
        transitions: probabilities of the symbols in each state, in the order of `outcomes`.
    """

    following: Int[Tensor, "batch all_states outcomes"]
    transitions: Float[Tensor, "batch all_states outcomes"]


@register_task("in_context_languages", measures="n-gram heads, language learning in context")
def in_context_languages(
    vocabulary: Any,
    time: int = 256,
    *,
    machine_states: int = 6,
    symbols: int = 8,
    edges: int = 3,
    stop: float = 0.1,
    concentration: float = math.inf,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> InContextLanguages:
    """Strings of a random probabilistic automaton, a new one for each sequence, with a separator behind each string.

    From each state as many edges as `edges` says lead to random states, each on a symbol of its own. After the first
    symbol of a string it may end. `probabilities` is exact for whoever knows the automaton; `ngram_predictions` gives
    what counting in context can do. Scored is every prediction: ``"start"`` after a separator, ``"inside"`` elsewhere.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        time: tokens of a sequence.
        machine_states: states of each automaton.
        symbols: letters of its alphabet, the same ids in each sequence.
        edges: symbols that can come in each state.
        stop: probability that a string ends after a symbol.
        concentration: of the Dirichlet distribution that the edges' probabilities come from; equal ones by default.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "in_context_languages"
    check_sizes(name, 2, time=time)
    check_sizes(name, machine_states=machine_states, symbols=symbols, edges=edges, batch=batch)
    if edges > symbols:
        raise InputError(f"edges is {edges}; a state of {name!r} has one a symbol at most, and symbols is {symbols}.")
    if not 0 < stop < 1:
        raise InputError(f"stop is {stop}; a probability between 0 and 1 is needed.")
    if not concentration > 0:
        raise InputError(f"concentration is {concentration}; a number above 0 is needed, or infinity.")
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    (outcomes,) = alphabet.parts(symbols_and_separator=symbols + 1)
    generator = torch.Generator().manual_seed(seed)
    machines = _random_machines(generator, batch, machine_states, symbols, edges, stop, concentration)
    written, states = machines.walk(generator, batch, time)
    steps = torch.arange(time - 1).repeat(batch, 1)
    return alphabet.finish(
        InContextLanguages(
            name=name,
            tokens=outcomes[written],
            positions=steps,
            answers=outcomes[written[:, 1:]],
            sources=torch.full_like(steps, -1),
            labels=(written[:, :-1] != symbols).long(),
            label_names=("start", "inside"),
            outcomes=outcomes,
            probabilities=machines.predictions(states[:, :-1]),
            states=states,
            following=machines.following,
            transitions=machines.probabilities,
        )
    )


def _random_machines(
    generator: torch.Generator,
    batch: int,
    states: int,
    symbols: int,
    edges: int,
    stop: float,
    concentration: float,
) -> Automaton:
    """Automata whose state 0 is the start, where no string can end yet; the others are the states after a symbol."""
    rows = batch * (states + 1)
    on = distinct(generator, rows, symbols, edges)
    chance = torch.zeros(rows, symbols, dtype=torch.float64)
    chance.scatter_(1, on, dirichlet(generator, rows, edges, concentration))
    chance = chance.view(batch, states + 1, symbols)
    # The start is a place of its own, so that whether a string may end is told by the state alone; what can come first
    # is what can come in state 1, as if the string were there already.
    chance[:, 0] = chance[:, 1]
    following = 1 + torch.randint(states, (batch, states + 1, symbols), generator=generator)
    following[:, 0] = following[:, 1]
    ends = torch.full((batch, states + 1, 1), stop, dtype=torch.float64)
    ends[:, 0] = 0
    return Automaton(
        torch.cat([following, torch.zeros(batch, states + 1, 1, dtype=torch.long)], dim=2),
        torch.cat([chance * (1 - ends), ends], dim=2),
    )
