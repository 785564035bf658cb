"""Which of two things in a text came first: whether the order of what was read is still there."""

from __future__ import annotations

import random
from typing import Any

from workbench.tasks.alphabet import check_sizes
from workbench.tasks.filler import sentences
from workbench.tasks.passages import PassageWriter
from workbench.tasks.registry import register_task
from workbench.tasks.text import TextTask, text_task


@register_task("order_recall", measures="the order of a text's segments, order in the state")
def order_recall(
    vocabulary: Any,
    segments: int = 4,
    *,
    examples: int = 2,
    batch: int = 16,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """A text of several sentences, and the question which of two of them came first.

    The two are offered as A and B, the earlier one as often the one as the other. Labels are how many sentences apart
    they stood: ``"apart_1"``, ``"apart_2"``, ... The wrong answer is the other letter. Order is a relation between two
    places, so there are no `sources`; ``pieces["first"]`` and ``pieces["second"]`` are the two segments of the last
    text.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        segments: sentences a text.
        examples: texts with their answers before the one that is scored.
        batch: sequences; the distance and the letter of the answer take turns.
        seed: of texts and questions.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a text longer than the model's context.
    """
    check_sizes("order_recall", batch=batch)
    check_sizes("order_recall", 0, examples=examples)
    check_sizes("order_recall", 2, segments=segments)
    rng = random.Random(seed)
    passages = []
    for sequence in range(batch):
        # Every distance once with each letter before any comes back, so that neither tells of the other.
        turn = sequence % (2 * (segments - 1))
        writer = PassageWriter()
        for _ in range(examples):
            _question(writer, rng, segments, rng.randint(1, segments - 1), rng.randrange(2), last=False)
        _question(writer, rng, segments, 1 + turn // 2, turn % 2, last=True)
        passages.append(writer.passage())
    labels = [f"apart_{distance}" for distance in range(1, segments)]
    return text_task("order_recall", vocabulary, passages, labels=labels, bos=bos)


def _question(
    writer: PassageWriter, rng: random.Random, segments: int, distance: int, letter: int, *, last: bool
) -> None:
    """A text and its question; `letter` is 0 where the earlier segment is offered as A."""
    drawn = sentences("varied", rng)
    text: list[str] = []
    while len(text) < segments:
        sentence = next(drawn)
        if sentence not in text:
            text.append(sentence)
    first = rng.randrange(segments - distance)
    second = first + distance
    for place, sentence in enumerate(text):
        name = {first: "first", second: "second"}.get(place) if last else None
        writer.word(sentence, name)
    offered = (text[first], text[second]) if letter == 0 else (text[second], text[first])
    writer.add(f"\nWhich of these came first?\nA: {offered[0]}\nB: {offered[1]}\nAnswer:")
    if last:
        writer.answer(f" {'AB'[letter]}", f"apart_{distance}", wrong=[f" {'AB'[1 - letter]}"])
    else:
        writer.add(f" {'AB'[letter]}\n\n")
