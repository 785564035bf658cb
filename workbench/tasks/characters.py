"""Counting a letter in a string, with the string cut into tokens in several ways.

How a string is written decides which letters share a token, and with it how well models count (Zhang, Cao and You 2024,
"Counting Ability of Large Language Models and Impact of Tokenization").
"""

from __future__ import annotations

import random
from typing import Any

from workbench.errors import InputError
from workbench.tasks.alphabet import check_sizes
from workbench.tasks.passages import PassageWriter
from workbench.tasks.registry import register_task
from workbench.tasks.text import TextTask, text_task


@register_task("counting_characters", measures="counting, and what the cut into tokens does to it")
def counting_characters(
    vocabulary: Any,
    length: int = 12,
    *,
    letters: str = "ab",
    group: int = 0,
    separator: str = " ",
    examples: int = 3,
    batch: int = 16,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """How often a letter occurs in a random string that is written in pieces of a chosen size.

    Scored is the count of the last string, labelled ``"answer"``; wrong answers are one less and one more. No position
    holds it, so there are no `sources`; ``pieces["string"]`` is the string, whose tokens show how it was cut. The
    strings are the same for every `group` and `separator`.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        length: letters a string.
        letters: to draw from, the first of which is counted.
        group: letters a piece: 1 writes "a b b a", 2 "ab ba"; 0 does not part them.
        separator: what stands between pieces: " ", ", ", "-".
        examples: strings with their counts before the one that is asked for.
        batch: sequences.
        seed: of the strings; the count is uniform, from 0 to `length`.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a text longer than the model's context.
    """
    check_sizes("counting_characters", length=length, batch=batch)
    check_sizes("counting_characters", 0, group=group, examples=examples)
    if len(set(letters)) < 2 or len(set(letters)) < len(letters):
        raise InputError(f"letters is {letters!r}; at least two different letters are needed, each once.")
    rng = random.Random(seed)
    passages = []
    for _ in range(batch):
        writer = PassageWriter()
        for shown in reversed(range(examples + 1)):
            count = rng.randint(0, length)
            drawn = [*letters[0] * count, *rng.choices(letters[1:], k=length - count)]
            rng.shuffle(drawn)
            writer.add(f"How often is the letter {letters[0]} in this string?\n")
            writer.add(_written("".join(drawn), group, separator), None if shown else "string")
            writer.add("\nAnswer:")
            if shown:
                writer.add(f" {count}\n\n")
            else:
                wrong = [f" {other}" for other in (count - 1, count + 1) if other >= 0]
                writer.answer(f" {count}", wrong=wrong)
        passages.append(writer.passage())
    return text_task("counting_characters", vocabulary, passages, bos=bos)


def _written(string: str, group: int, separator: str) -> str:
    if group == 0:
        return string
    return separator.join(string[start : start + group] for start in range(0, len(string), group))
