"""Things that follow each other: numbers, number words, months, weekdays, letters.

Gould et al. (2023, "Successor Heads: Recurring, Interpretable Attention Heads In The Wild") found heads that take each
of them to the next one. The classes are here for the finder of such heads, the task for what a model does with them.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import InputError, offer
from workbench.tasks.alphabet import check_sizes
from workbench.tasks.passages import PassageWriter
from workbench.tasks.registry import register_task
from workbench.tasks.text import TextTask, text_task
from workbench.tasks.words import MONTHS, NUMBER_WORDS, WEEKDAYS


@dataclass(frozen=True)
class OrdinalClass:
    """Words in their order.

    Attributes:
        name: of the class.
        words: the first one first, without spaces.
        cyclic: whether the first follows the last.
    """

    name: str
    words: tuple[str, ...]
    cyclic: bool

    def pairs(self) -> list[tuple[str, str]]:
        """Every word that has a successor, and the successor."""
        last = [(self.words[-1], self.words[0])] if self.cyclic else []
        return [*zip(self.words, self.words[1:], strict=False), *last]

    def successor(self, word: str) -> str | None:
        """The word after `word`, or None after the last of a class that is not cyclic."""
        return dict(self.pairs()).get(word)


ORDINAL_CLASSES = {
    each.name: each
    for each in (
        OrdinalClass("numbers", tuple(str(number) for number in range(1, 101)), cyclic=False),
        OrdinalClass("number_words", NUMBER_WORDS, cyclic=False),
        OrdinalClass("months", MONTHS, cyclic=True),
        OrdinalClass("weekdays", WEEKDAYS, cyclic=True),
        OrdinalClass("letters", tuple(string.ascii_uppercase), cyclic=False),
    )
}
"""Words whose successors heads may know, by the name of their class."""


@register_task("ordinals", measures="succession: the next number, month, weekday or letter; successor heads")
def ordinals(
    vocabulary: Any,
    run: int = 3,
    *,
    classes: str | Sequence[str] = "all",
    batch: int = 8,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """Runs of words in their order, such as Monday, Tuesday, Wednesday: which one is next?

    Each sequence holds one run of each class, in random order; labels are the classes. The successor stands nowhere
    before, so there are no `sources`; ``pieces["months"]`` and so on are the last word that is shown of the class, from
    which the successor follows. Wrong answers are that word itself and another one of the class.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        run: words of each class that are shown, at most 5.
        classes: names out of `ORDINAL_CLASSES`, several parted by commas or in a list; "all" for all of them.
        batch: sequences.
        seed: of the runs.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: no such class, an option out of range, or a text longer than the model's context.
    """
    check_sizes("ordinals", run=run, batch=batch)
    shortest = min(len(each.words) for each in ORDINAL_CLASSES.values())
    if run > shortest - 2:
        raise InputError(f"run is {run}; the shortest class has {shortest} words, so at most {shortest - 2} are shown.")
    chosen = _classes(classes)
    rng = random.Random(seed)
    passages = []
    for _ in range(batch):
        writer = PassageWriter()
        for each in rng.sample(chosen, len(chosen)):
            count = len(each.words)
            first = rng.randrange(count if each.cyclic else count - run)
            words = [each.words[(first + step) % count] for step in range(run + 1)]
            wrong = [words[-2], rng.choice([word for word in each.words if word not in words])]
            for word in words[:-2]:
                writer.word(f"{word},")
            writer.word(words[-2], each.name)
            writer.add(",")
            writer.answer(f" {words[-1]}", each.name, wrong=[f" {word}" for word in wrong])
            writer.add(".")
        passages.append(writer.passage())
    return text_task("ordinals", vocabulary, passages, labels=[each.name for each in chosen], bos=bos)


def _classes(asked: str | Sequence[str]) -> list[OrdinalClass]:
    names = [name.strip() for name in asked.split(",")] if isinstance(asked, str) else list(asked)
    if names == ["all"]:
        return list(ORDINAL_CLASSES.values())
    unknown = [name for name in names if name not in ORDINAL_CLASSES]
    if unknown or not names:
        wrong = unknown[0] if unknown else ""
        raise InputError(f"No class of ordinals is called {wrong!r}; {offer(wrong, ORDINAL_CLASSES)}.")
    return [ORDINAL_CLASSES[name] for name in dict.fromkeys(names)]
