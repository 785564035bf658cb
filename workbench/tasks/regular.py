"""Regular languages read out at every symbol: what a recurrence can track, and how far beyond the trained length.

Delétang et al. 2023, "Neural Networks and the Chomsky Hierarchy": even pairs and modular arithmetic; the sum modulo m
of Liu et al. 2023, "Transformers Learn Shortcuts to Automata". In each the answer is a function of the state of a
small automaton, and that state is the label of every position.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.tasks.alphabet import Alphabet, check_sizes, length_labels
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task


@register_task("modular_sum", measures="state tracking, length extrapolation")
def modular_sum(
    vocabulary: Any,
    time: int = 40,
    *,
    modulus: int = 5,
    trained: int | None = None,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Random digits; at each of them, the sum so far modulo m.

    Read out as a digit. The other digits are the distractors, and `states` is the sum.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        time: digits of a sequence.
        modulus: of the sum; digits are below it. 2 is parity at every place.
        trained: the longest string trained on: the labels are then ``"within"`` and ``"beyond"`` it; by default
            ``"answer"``.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "modular_sum"
    check_sizes(name, time=time, batch=batch)
    check_sizes(name, 2, modulus=modulus)
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    (digits,) = alphabet.parts(digits=modulus)
    drawn = torch.randint(modulus, (batch, time), generator=torch.Generator().manual_seed(seed))
    total = drawn.cumsum(1) % modulus
    return alphabet.finish(_read_out(name, digits[drawn], torch.arange(time), total, digits, total, trained))


@register_task("even_pairs", measures="state tracking, length extrapolation")
def even_pairs(
    vocabulary: Any,
    time: int = 40,
    *,
    trained: int | None = None,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Random strings of a and b; from the second letter on, whether "ab" and "ba" came an even number of times so far.

    That is whether the letter is the first one again, so that the first letter is the source. Read out as one of two
    tokens that are not the letters. `states` is 2 for a first letter b, and 1 more where the letter is another.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        time: letters of a sequence.
        trained: the longest string trained on: the labels are then ``"within"`` and ``"beyond"`` it; by default
            ``"answer"``.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "even_pairs"
    check_sizes(name, 2, time=time)
    check_sizes(name, batch=batch)
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    letters, answers = alphabet.parts(letters=2, answers=2)
    drawn = torch.randint(2, (batch, time), generator=torch.Generator().manual_seed(seed))
    odd = (drawn != drawn[:, :1]).long()
    states = 2 * drawn[:, :1] + odd
    task = _read_out(name, letters[drawn], torch.arange(1, time), odd[:, 1:], answers, states, trained, source=0)
    return alphabet.finish(task)


@register_task("modular_arithmetic", measures="state tracking, length extrapolation")
def modular_arithmetic(
    vocabulary: Any,
    operations: int = 19,
    *,
    modulus: int = 5,
    trained: int | None = None,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """A sum of products without brackets, such as 3 + 2 * 4 - 1; at each digit, its value so far modulo m.

    Products come before sums. Read out as a digit; the other digits are the distractors. `states` is what a reader must
    remember: ``f * modulus + p`` at a digit, with the sum f of the finished summands and the open product p with its
    sign; behind an operator ``modulus ** 2`` more, and p is then what the next digit will be multiplied with.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        operations: operators of an expression, each +, - or *.
        modulus: of the arithmetic; digits are below it.
        trained: the longest expression trained on, in tokens: the labels are then ``"within"`` and ``"beyond"`` it; by
            default ``"answer"``.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "modular_arithmetic"
    check_sizes(name, 0, operations=operations)
    check_sizes(name, batch=batch)
    check_sizes(name, 2, modulus=modulus)
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    digits, operators = alphabet.parts(digits=modulus, operators=3)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(modulus, (batch, operations + 1), generator=generator)
    chosen = torch.randint(3, (batch, operations), generator=generator)

    finished, product = torch.zeros(batch, dtype=torch.long), drawn[:, 0]
    states, values = [finished * modulus + product], [product]
    for step in range(operations):
        operator = chosen[:, step]
        times = operator == 2
        finished = torch.where(times, finished, (finished + product) % modulus)
        product = torch.where(times, product, torch.where(operator == 1, -1, 1)) % modulus
        states.append(modulus**2 + finished * modulus + product)
        product = product * drawn[:, step + 1] % modulus
        states.append(finished * modulus + product)
        values.append((finished + product) % modulus)
    tokens = torch.empty(batch, 2 * operations + 1, dtype=torch.long)
    tokens[:, 0::2], tokens[:, 1::2] = digits[drawn], operators[chosen]
    at = torch.arange(0, tokens.shape[1], 2)
    value, state = torch.stack(values, dim=1), torch.stack(states, dim=1)
    return alphabet.finish(_read_out(name, tokens, at, value, digits, state, trained))


def _read_out(
    name: str,
    tokens: Int[Tensor, "batch time"],
    at: Int[Tensor, " scored"],
    right: Int[Tensor, "batch scored"],
    answers: Int[Tensor, " classes"],
    states: Int[Tensor, "batch time"],
    trained: int | None,
    source: int = -1,
) -> Task:
    """The task that asks at the places `at` for the class `right`; the other classes are the distractors."""
    batch, classes = len(tokens), len(answers)
    labels, label_names = length_labels(at + 1, trained)
    return Task(
        name=name,
        tokens=tokens,
        positions=at.repeat(batch, 1),
        answers=answers[right],
        sources=torch.full_like(right, source),
        labels=labels.repeat(batch, 1),
        label_names=label_names,
        distractors=answers[(right[..., None] + torch.arange(1, classes)) % classes],
        states=states,
    )
