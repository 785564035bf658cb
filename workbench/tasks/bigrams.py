"""Global and in-context bigrams: the task on which induction emerges.

A chain that all sequences share, learned in the weights, and after trigger tokens a successor that each sequence
chooses for itself, learned in context (Bietti et al. 2023, "Birth of a Transformer: A Memory Viewpoint", section 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.base import SHARED, Task
from workbench.tasks.chains import stationary
from workbench.tasks.registry import register_task
from workbench.tasks.sampling import categorical, dirichlet


@dataclass(frozen=True, kw_only=True, repr=False)
class InContextBigrams(Task):
    """Sequences with their chain and their triggers.

    Attributes:
        chain: probability of the column's outcome after the row's, where the row is no trigger.
        triggers: tokens with a successor of the sequence's own.
        successors: what follows each trigger in each sequence.
    """

    chain: Float[Tensor, "outcomes outcomes"] = field(metadata=SHARED)
    triggers: Int[Tensor, " triggers"] = field(metadata=SHARED)
    successors: Int[Tensor, "batch triggers"]


@register_task("in_context_bigrams", measures="emergence of induction")
def in_context_bigrams(
    vocabulary: Any,
    time: int = 128,
    *,
    symbols: int = 32,
    triggers: int = 3,
    concentration: float = 0.3,
    chain_seed: int = 0,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> InContextBigrams:
    """One global Markov chain; after each trigger token a successor that is drawn anew for each sequence.

    The triggers are the symbols that the chain visits most; successors are uniform over the others. Scored is every
    prediction: ``"global"`` after an ordinary symbol, ``"first"`` where a trigger comes for the first time and its
    successor is anyone's guess, ``"in_context"`` from then on, with the last place of the successor as source.
    `probabilities` is exact for whoever knows chain and triggers and learns the successors in context.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        time: tokens of a sequence.
        symbols: tokens of the chain.
        triggers: tokens with a successor of the sequence's own.
        concentration: of the Dirichlet distribution that the chain's rows come from; small ones make it predictable.
        chain_seed: decides the chain and the triggers, whatever `seed` is.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "in_context_bigrams"
    check_sizes(name, 2, time=time, symbols=symbols)
    check_sizes(name, triggers=triggers, batch=batch)
    if triggers >= symbols:
        raise InputError(f"triggers is {triggers}; fewer than the {symbols} symbols of {name!r} are needed.")
    if not concentration > 0:
        raise InputError(f"concentration is {concentration}; a number above 0 is needed.")
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    (outcomes,) = alphabet.parts(symbols=symbols)
    shared = torch.Generator().manual_seed(chain_seed)
    chain = dirichlet(shared, symbols, symbols, concentration)
    often = stationary(chain).argsort(descending=True)
    # Triggers first: the number of a trigger is then its place among the symbols.
    chain, outcomes = chain[often][:, often], outcomes[often]

    generator = torch.Generator().manual_seed(seed)
    successors = triggers + torch.randint(symbols - triggers, (batch, triggers), generator=generator)
    rows = chain.expand(batch, -1, -1).clone()
    rows[:, :triggers] = torch.nn.functional.one_hot(successors, symbols).double()
    written = torch.empty(batch, time, dtype=torch.long)
    written[:, 0] = torch.randint(symbols, (batch,), generator=generator)
    each = torch.arange(batch)
    for step in range(1, time):
        written[:, step] = categorical(generator, rows[each, written[:, step - 1]])

    last = _last_place_before(written)[:, :-1]
    now = written[:, :-1]
    after_trigger, seen = now < triggers, last >= 0
    exact = rows[each[:, None], now]
    guess = torch.zeros(symbols, dtype=torch.float64)
    guess[triggers:] = 1 / (symbols - triggers)
    exact[after_trigger & ~seen] = guess
    return alphabet.finish(
        InContextBigrams(
            name=name,
            tokens=outcomes[written],
            positions=torch.arange(time - 1).repeat(batch, 1),
            answers=outcomes[written[:, 1:]],
            sources=torch.where(after_trigger & seen, last + 1, -1),
            labels=torch.where(after_trigger, 1 + seen.long(), 0),
            label_names=("global", "first", "in_context"),
            outcomes=outcomes,
            probabilities=exact,
            chain=chain,
            triggers=outcomes[:triggers],
            successors=outcomes[successors],
        )
    )


def _last_place_before(written: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
    """Where each symbol stood the last time before, or -1."""
    found = torch.full_like(written, -1)
    last = torch.full((len(written), int(written.max()) + 1), -1)
    for step in range(written.shape[1]):
        now = written[:, step : step + 1]
        found[:, step] = last.gather(1, now)[:, 0]
        last.scatter_(1, now, step)
    return found
