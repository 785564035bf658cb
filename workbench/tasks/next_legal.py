"""Languages of which the next legal symbols are asked: star-free ones, and brackets of bounded depth.

Bhattamishra et al. 2020, "On the Ability and Limitations of Transformers to Recognize Formal Languages" (the languages
and the question); Liu et al. 2023, "Exposing Attention Glitches with Flip-Flop Language Modeling"; Hewitt et al. 2020,
"RNNs can generate bounded hierarchical languages with optimal memory" (Dyck-(k, m)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_choice, check_sizes, length_labels
from workbench.tasks.automata import Automaton, uniform_over
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task

# A table of 2 ** 17 states and 40 symbols is 40 MB of float64.
_MOST_STATES = 1 << 17


@register_task("star_free", measures="state tracking without counting, length extrapolation")
def star_free(
    vocabulary: Any,
    language: str = "ordered",
    *,
    time: int = 64,
    trained: int | None = None,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Random texts of a star-free language; after each symbol, which may come next?

    Every legal symbol is equally likely, which makes `probabilities` exact, and `legality` the share of predictions
    that stay in the language. `states` is the state of the smallest automaton.

    Languages: ``"ordered"``: a, b, c, d, e, each at least once and in this order, then an end mark and again from a.
    ``"no_triple"``: 0 and 1, never three 0 in a row (Tomita's fourth). ``"alternating"``: pairs of 1 and 0 (Tomita's
    second), with an end mark behind any pair. ``"delimited"``: letters a and b, then one d, then letters b and c, then
    an end mark and again.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        language: one of the above.
        time: tokens of a sequence.
        trained: the longest text trained on: the labels are then ``"within"`` and ``"beyond"`` it; by default
            ``"answer"``.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, an unknown language, too few tokens, or more tokens than the model's context.
    """
    name = "star_free"
    check_choice(name, "language", language, _STAR_FREE)
    table = _STAR_FREE[language]()
    return _stream(name, vocabulary, table, time, trained, batch, seed, avoid, bos)


@register_task("bounded_dyck", measures="state tracking with a bounded stack, length extrapolation")
def bounded_dyck(
    vocabulary: Any,
    kinds: int = 2,
    depth: int = 3,
    *,
    time: int = 64,
    trained: int | None = None,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Random balanced brackets of bounded depth; after each symbol, which may come next?

    Opening brackets while there is room, the closing one of the innermost open bracket, and an end mark where all are
    closed (but not right behind another one): every legal symbol is equally likely, which makes `probabilities` exact.
    The source of a closing bracket is the bracket it closes. `states` numbers the stacks: 0 for the empty one, 1 behind
    an end mark and at the start, and the others from the shortest on, in the order of their brackets.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        kinds: different pairs of brackets.
        depth: brackets that may be open at once.
        time: tokens of a sequence.
        trained: the longest text trained on: the labels are then ``"within"`` and ``"beyond"`` it; by default
            ``"answer"``.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, more than 131072 stacks, too few tokens, or more tokens than the model's
            context.
    """
    name = "bounded_dyck"
    check_sizes(name, kinds=kinds, depth=depth)
    stacks = 1 + depth if kinds == 1 else (kinds ** (depth + 1) - 1) // (kinds - 1)
    if stacks > _MOST_STATES:
        raise InputError(f"{kinds} kinds at depth {depth} make {stacks} stacks; at most {_MOST_STATES} are possible.")
    return _stream(name, vocabulary, _brackets(kinds, depth), time, trained, batch, seed, avoid, bos, kinds=kinds)


def _stream(
    name: str,
    vocabulary: Any,
    table: Int[Tensor, "states symbols"],
    time: int,
    trained: int | None,
    batch: int,
    seed: int,
    avoid: Iterable[int] | None,
    bos: bool | int | None,
    kinds: int = 0,
) -> Task:
    """Text of the automaton `table`, whose entries are the state after a symbol, or -1 where it is not legal."""
    check_sizes(name, 2, time=time)
    check_sizes(name, batch=batch)
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    (outcomes,) = alphabet.parts(symbols=table.shape[1])
    machine = Automaton(table[None].clamp(min=0), uniform_over(table >= 0)[None], start=_START)
    drawn, states = machine.walk(torch.Generator().manual_seed(seed), batch, time)
    steps = torch.arange(time - 1)
    labels, label_names = length_labels(steps + 1, trained)
    sources = torch.full((batch, time - 1), -1)
    if kinds:
        sources = torch.where(drawn[:, 1:] < 2 * kinds, _partners(drawn, kinds)[:, 1:], -1)
    return alphabet.finish(
        Task(
            name=name,
            tokens=outcomes[drawn],
            positions=steps.repeat(batch, 1),
            answers=outcomes[drawn[:, 1:]],
            sources=sources,
            labels=labels.repeat(batch, 1),
            label_names=label_names,
            outcomes=outcomes,
            probabilities=machine.predictions(states[:, :-1]),
            states=states,
        )
    )


_START = 1
"""The state at the start of a text and behind every end mark."""


def _brackets(kinds: int, depth: int) -> Int[Tensor, "states symbols"]:
    """Symbols: the opening brackets, the closing ones, the end mark."""
    stacks = [stack for length in range(1, depth + 1) for stack in product(range(kinds), repeat=length)]
    number: dict[tuple[int, ...], int] = {(): 0} | {stack: 2 + place for place, stack in enumerate(stacks)}
    table = torch.full((2 + len(stacks), 2 * kinds + 1), -1)
    for stack, state in number.items():
        if len(stack) < depth:
            table[state, :kinds] = torch.tensor([number[(*stack, kind)] for kind in range(kinds)])
        if stack:
            table[state, kinds + stack[-1]] = number[stack[:-1]]
    table[_START] = table[0]
    table[0, -1] = _START
    return table


def _partners(drawn: Int[Tensor, "batch time"], kinds: int) -> Int[Tensor, "batch time"]:
    """For each closing bracket where the bracket it closes stands, else -1."""
    opening, closing = drawn < kinds, (drawn >= kinds) & (drawn < 2 * kinds)
    level = (opening.long() - closing.long()).cumsum(1)
    found = torch.full_like(drawn, -1)
    # Where the bracket that opened each level stands; level 0 is a place for the symbols that open nothing.
    opened = torch.zeros(len(drawn), int(level.max()) + 2, dtype=torch.long)
    for step in range(drawn.shape[1]):
        now = level[:, step]
        partner = opened.gather(1, now[:, None] + 1)[:, 0]
        found[:, step] = torch.where(closing[:, step], partner, -1)
        target = torch.where(opening[:, step], now, 0)
        opened.scatter_(1, target[:, None], step)
    return found


def _ordered() -> Int[Tensor, "states symbols"]:
    # States 1 (start) and 2..6: the last letter was a..e. State 0 is never reached.
    table = torch.full((7, 6), -1)
    table[0, 0] = table[1, 0] = 2
    for letter in range(5):
        table[2 + letter, letter] = 2 + letter
        table[2 + letter, letter + 1] = 3 + letter if letter < 4 else _START
    return table


def _no_triple() -> Int[Tensor, "states symbols"]:
    # State 1 (start): no 0 at the end; 0: one; 2: two.
    return torch.tensor([[2, 1], [0, 1], [-1, 1]])


def _alternating() -> Int[Tensor, "states symbols"]:
    # Symbols 1, 0, end. State 1 (start and behind an end), 0: behind a 1; 2: behind a pair.
    return torch.tensor([[-1, 2, -1], [0, -1, -1], [0, -1, 1]])


def _delimited() -> Int[Tensor, "states symbols"]:
    # Symbols a, b, c, d, end. State 1: before the d; 0: behind it.
    return torch.tensor([[-1, 0, 0, -1, 1], [1, 1, -1, 0, -1]])


_STAR_FREE: dict[str, Callable[[], Tensor]] = {
    "ordered": _ordered,
    "no_triple": _no_triple,
    "alternating": _alternating,
    "delimited": _delimited,
}
