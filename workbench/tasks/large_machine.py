"""A machine with many states: more than a recurrent model has neurons, so that no neuron can stand for one.

What a model must carry is one of hundreds of states, whose names no single symbol tells: a discrete code over its
units is the only way to hold them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.automata import Automaton
from workbench.tasks.base import SHARED, Task
from workbench.tasks.registry import register_task
from workbench.tasks.sampling import distinct


@dataclass(frozen=True, kw_only=True, repr=False)
class ManyStates(Task):
    """Text with the machine that wrote it.

    Attributes:
        following: the state after each outcome in each state; -1 where it cannot come.
        transitions: probabilities of the outcomes in each state.
    """

    following: Int[Tensor, "machine_states outcomes"] = field(metadata=SHARED)
    transitions: Float[Tensor, "machine_states outcomes"] = field(metadata=SHARED)


@register_task("many_states", measures="discrete codes")
def many_states(
    vocabulary: Any,
    machine_states: int = 512,
    *,
    symbols: int = 4,
    time: int = 128,
    machine_seed: int = 0,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> ManyStates:
    """Text of one random machine with many states, which starts in state 0.

    Two symbols can come in each state, equally likely. One leads round a cycle through all states, so that each can be
    reached from each; the other anywhere. `probabilities` is exact for whoever knows the machine, since the text then
    tells its state, which `states` holds.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        machine_states: of the machine.
        symbols: different tokens.
        time: tokens of a sequence.
        machine_seed: decides the machine, whatever `seed` is.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "many_states"
    check_sizes(name, machine_states=machine_states, batch=batch)
    check_sizes(name, 2, symbols=symbols, time=time)
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    (outcomes,) = alphabet.parts(symbols=symbols)
    built = torch.Generator().manual_seed(machine_seed)
    on = distinct(built, machine_states, symbols, 2)
    order = torch.randperm(machine_states, generator=built)
    following = torch.full((machine_states, symbols), -1)
    following[order, on[order, 0]] = order.roll(-1)
    following.scatter_(1, on[:, 1:], torch.randint(machine_states, (machine_states, 1), generator=built))
    transitions = (following >= 0).double() / 2
    machine = Automaton(following[None], transitions[None])
    drawn, states = machine.walk(torch.Generator().manual_seed(seed), batch, time)
    steps = torch.arange(time - 1).repeat(batch, 1)
    return alphabet.finish(
        ManyStates(
            name=name,
            tokens=outcomes[drawn],
            positions=steps,
            answers=outcomes[drawn[:, 1:]],
            sources=torch.full_like(steps, -1),
            labels=torch.zeros_like(steps),
            label_names=("symbol",),
            outcomes=outcomes,
            probabilities=machine.predictions(states[:, :-1]),
            states=states,
            following=following,
            transitions=transitions,
        )
    )
