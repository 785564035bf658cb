"""Arithmetic that goes around: days of the week, months of the year, sums modulo p.

On such tasks models hold numbers on circles (Nanda et al. 2023, "Progress Measures for Grokking via Mechanistic
Interpretability"; Engels et al. 2024, "Not All Language Model Features Are One-Dimensionally Linear").
"""

from __future__ import annotations

import random
from typing import Any

import torch

from workbench.errors import InputError
from workbench.tasks.alphabet import check_choice, check_sizes
from workbench.tasks.base import Task
from workbench.tasks.passages import PassageWriter
from workbench.tasks.registry import register_task
from workbench.tasks.text import TextTask, text_task
from workbench.tasks.vocabulary import Vocabulary
from workbench.tasks.words import MONTHS, NUMBER_WORDS, WEEKDAYS

_CIRCLES = {"weekdays": (WEEKDAYS, "day"), "months": (MONTHS, "month")}


@register_task("calendar", measures="arithmetic on a circle of weekdays or months, circular features")
def calendar(
    vocabulary: Any,
    unit: str = "weekdays",
    *,
    examples: int = 4,
    batch: int = 16,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """Two days after Monday is: a weekday or a month so many steps on.

    Scored is the last line's answer, labelled ``"answer"``; wrong answers are all others of the circle.
    ``pieces["start"]`` is where the count starts and ``pieces["steps"]`` the number word. No position holds the answer,
    so there are no `sources`.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        unit: "weekdays" or "months".
        examples: lines with their answers before the one that counts; none of them is the same question.
        batch: sequences.
        seed: of the questions.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a text longer than the model's context.
    """
    check_choice("calendar", "unit", unit, _CIRCLES)
    check_sizes("calendar", batch=batch)
    check_sizes("calendar", 0, examples=examples)
    words, step = _CIRCLES[unit]
    questions = [(start, steps) for start in range(len(words)) for steps in range(1, len(words))]
    if examples >= len(questions):
        raise InputError(f"examples is {examples}; there are {len(questions) - 1} other questions about {unit}.")
    rng = random.Random(seed)
    passages = []
    for _ in range(batch):
        *shown, asked = rng.sample(questions, examples + 1)
        writer = PassageWriter()
        for start, steps in shown:
            writer.add(f"{_steps(steps, step)} after {words[start]} is {words[(start + steps) % len(words)]}.\n")
        start, steps = asked
        right = words[(start + steps) % len(words)]
        number, plural = _steps(steps, step).split(" ")
        writer.add(number, "steps")
        writer.add(f" {plural} after")
        writer.add(f" {words[start]}", "start")
        writer.add(" is")
        writer.answer(f" {right}", wrong=[f" {word}" for word in words])
        passages.append(writer.passage())
    return text_task("calendar", vocabulary, passages, bos=bos)


@register_task("modular_addition", measures="arithmetic on a circle of numbers, circular features")
def modular_addition(
    vocabulary: Any,
    modulus: int = 12,
    *,
    examples: int = 4,
    batch: int = 16,
    seed: int = 0,
    bos: bool | int | None = None,
) -> Task:
    """Sums modulo p: (7 + 9) mod 12 = 4 for a tokenizer, three tokens "a b =" for bare ids.

    With bare ids, number n is the n-th id that may be drawn and the sign the one after the last number, as in the
    models that grokking is studied on; the answer follows the sign. Otherwise the last line's sum is scored. The label
    is ``"answer"``; no position holds it, so there are no `sources`; wrong answers are its neighbours on the circle.

    Args:
        vocabulary: a number of ids, a tokenizer, or a hooked model.
        modulus: p, at least 3.
        examples: sums with their answers before the one that counts; they may be the same.
        batch: sequences.
        seed: of the numbers.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, too few ids, or a sequence longer than the model's context.
    """
    check_sizes("modular_addition", batch=batch)
    check_sizes("modular_addition", 0, examples=examples)
    check_sizes("modular_addition", 3, modulus=modulus)
    known = Vocabulary.of(vocabulary)
    rng = random.Random(seed)
    drawn = [[(rng.randrange(modulus), rng.randrange(modulus)) for _ in range(examples + 1)] for _ in range(batch)]
    if known.tokenizer is None:
        return _bare_sums(known, modulus, drawn, bos)
    passages = []
    for sums in drawn:
        writer = PassageWriter()
        for a, b in sums[:-1]:
            writer.add(f"({a} + {b}) mod {modulus} = {(a + b) % modulus}\n")
        a, b = sums[-1]
        right = (a + b) % modulus
        writer.add(f"({a} + {b}) mod {modulus} =")
        writer.answer(f" {right}", wrong=[f" {number}" for number in _neighbours(right, modulus)])
        passages.append(writer.passage())
    return text_task("modular_addition", known, passages, bos=bos)


def _bare_sums(known: Vocabulary, modulus: int, drawn: list[list[tuple[int, int]]], bos: bool | int | None) -> Task:
    ids = known.symbols([*map(str, range(modulus)), "="])
    front = known.bos(bos)
    sums = torch.tensor(drawn)
    batch = len(drawn)
    total = sums.sum(-1) % modulus
    rows = torch.cat([sums, torch.full_like(total, modulus)[..., None], total[..., None]], dim=-1)
    tokens = ids[rows.flatten(1)]
    if front is not None:
        tokens = torch.cat([torch.full((batch, 1), front), tokens], dim=1)
    known.check_length(tokens.shape[1], "modular_addition")
    last = total[:, -1:]
    wrong = torch.stack([(last - 1) % modulus, (last + 1) % modulus], dim=-1)
    return Task(
        name="modular_addition",
        tokens=tokens.to(known.device),
        positions=torch.full((batch, 1), tokens.shape[1] - 2).to(known.device),
        answers=ids[last].to(known.device),
        sources=torch.full((batch, 1), -1).to(known.device),
        labels=torch.zeros(batch, 1, dtype=torch.long).to(known.device),
        label_names=("answer",),
        distractors=ids[wrong].to(known.device),
    )


def _neighbours(number: int, modulus: int) -> list[int]:
    return [(number - 1) % modulus, (number + 1) % modulus]


def _steps(steps: int, unit: str) -> str:
    """``Two days``."""
    return f"{NUMBER_WORDS[steps - 1].capitalize()} {unit}{'' if steps == 1 else 's'}"
