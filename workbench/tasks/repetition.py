"""The same words again and again: how a model becomes surer of a repetition with every one that it reads.

Xu et al. (2022, "Learning to Break the Loop: Analyzing and Mitigating Repetitions for Neural Text Generation") call it
self-reinforcement: the probability of a sentence grows with the number of its repetitions, until generation is stuck.
"""

from __future__ import annotations

import random
from typing import Any

import pandas as pd
import torch

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.tasks.alphabet import check_sizes
from workbench.tasks.filler import sentences
from workbench.tasks.intervals import bootstrap_mean
from workbench.tasks.metrics import TaskScores
from workbench.tasks.passages import PassageWriter
from workbench.tasks.registry import register_task
from workbench.tasks.text import TextTask, text_task
from workbench.tasks.words import NOUNS

_SENTENCES_A_PARAGRAPH = 4


@register_task("repetition", measures="self-reinforcement of repetition, repetition features")
def repetition(
    vocabulary: Any,
    repeats: int = 6,
    *,
    unit: str = "sentence",
    batch: int = 8,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """A word, a sentence or a paragraph, several times over.

    Scored is every token, labelled with the copy it belongs to: ``"copy_1"``, ``"copy_2"``, ... `sources` are the same
    tokens one copy earlier; the curve over the copies is `self_reinforcement`.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        repeats: copies.
        unit: "word", "sentence", "paragraph" (of four sentences), or a text of your own of more than one word.
        batch: sequences, each with a unit of its own.
        seed: of the units.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a text longer than the model's context.
    """
    check_sizes("repetition", batch=batch)
    check_sizes("repetition", 2, repeats=repeats)
    rng = random.Random(seed)
    passages = []
    for _ in range(batch):
        words = _unit(unit, rng)
        writer = PassageWriter()
        writer.add("This is what was written there:")
        before = None
        for copy in range(1, repeats + 1):
            before = writer.answer(f" {words}", f"copy_{copy}", source=before)
        passages.append(writer.passage())
    labels = [f"copy_{copy}" for copy in range(1, repeats + 1)]
    return text_task("repetition", vocabulary, passages, labels=labels, bos=bos)


@checked_call
def self_reinforcement(scores: TaskScores, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """The self-reinforcement curve of scores of `repetition` (Xu et al. 2022, section 2.2).

    Args:
        scores: of the task.
        level: coverage of the intervals.
        seed: of the resampling.

    Returns:
        One row a copy: copy (1 is the first), probability (mean over its tokens, with low and high over sequences),
        increased (share of tokens that are likelier than in the first copy; NaN for that itself) and winner (share of
        tokens that are the likeliest of all).

    Raises:
        InputError: scores of another task.
    """
    task = scores.task
    if task.name != "repetition":
        raise InputError(f"self_reinforcement needs scores of 'repetition', and these are of {task.name!r}.")
    rows = []
    for copy in range(len(task.label_names)):
        chosen, original = task.labels == copy, task.labels == 0
        probability, increased, winner = [], [], []
        for row in range(task.batch):
            now, first = (-scores.loss[row][which[row]].double() for which in (chosen, original))
            probability.append(now.exp().mean())
            increased.append((now > first).double().mean())
            winner.append(scores.correct[row][chosen[row]].double().mean())
        mean, low, high = bootstrap_mean(torch.stack(probability), level=level, seed=seed)
        likelier = float(torch.stack(increased).mean()) if copy else float("nan")
        rows.append((copy + 1, mean, low, high, likelier, float(torch.stack(winner).mean())))
    return pd.DataFrame(rows, columns=["copy", "probability", "low", "high", "increased", "winner"])


def _unit(unit: str, rng: random.Random) -> str:
    if unit == "word":
        return rng.choice(NOUNS)
    if unit in ("sentence", "paragraph"):
        drawn = sentences("varied", rng)
        return " ".join(next(drawn) for _ in range(1 if unit == "sentence" else _SENTENCES_A_PARAGRAPH))
    return unit
