"""A short key, or a fact, somewhere in a long text that says nothing about it; asked for at the end.

The pass key is that of Mohtashami and Jaggi (2023, "Landmark Attention"), the fact the needle in a haystack of Kamradt
(2023), on which Wu et al. (2024, "Retrieval Head Mechanistically Explains Long-Context Factuality") define retrieval
heads: those that attend to the token of the needle that is being written. Depth and length are what a model with a
bounded state is measured on.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from workbench.errors import InputError
from workbench.tasks.alphabet import check_sizes
from workbench.tasks.filler import fill
from workbench.tasks.passages import Characters, Passage, PassageWriter
from workbench.tasks.registry import register_task
from workbench.tasks.text import TextTask, text_task
from workbench.tasks.vocabulary import Vocabulary

_PLACES = (
    "Marlow", "Tilbury", "Ashford", "Whitby", "Kendal", "Ludlow", "Selby", "Thornton", "Malton", "Frome",
    "Hexham", "Wells", "Corby", "Stamford", "Newbury", "Oakham",
)  # fmt: skip
_ACTIVITIES = (
    "feed the herons by the old mill", "climb the tower and count the chimneys",
    "eat a warm plum cake on the pier", "row a blue boat to the island",
    "listen to the brass band in the park", "buy honey from the monks on the hill",
    "watch the chess players under the lime trees", "swim in the cold lake before breakfast",
    "ride the tiny train through the tunnel", "look for fossils below the cliff",
    "fly a kite from the castle wall", "learn to bake rye bread with the widow",
    "sleep in a hammock at the vineyard", "photograph the foxes behind the library",
    "ring the great bell at sunset", "play cards with the fishermen in the harbour",
)  # fmt: skip


class _Needle(NamedTuple):
    """A sentence that is hidden: how it starts, what is asked for, and what else that might have been."""

    start: str
    value: str
    wrong: Sequence[str]


@register_task("passkey", measures="retrieval over a distance, capacity and collapse of the state, retrieval heads")
def passkey(
    vocabulary: Any,
    length: int = 256,
    *,
    depth: float | None = 0.5,
    digits: int = 5,
    filler: str = "repeated",
    batch: int = 8,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """A number hidden in a long text, asked for at the end.

    Scored is every token of the number where it is asked for; `sources` are the same tokens where it was said, and
    ``pieces["needle"]`` is the sentence that says it, ``pieces["value"]`` the number in it. The wrong answer is another
    random number.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        length: tokens of the whole text, answer included; it is up to a sentence shorter.
        depth: share of the filler before the needle, from 0 to 1; None draws it for every sequence.
        digits: of the number.
        filler: "repeated" for one paragraph over and over, "varied" for random sentences, or a text of your own.
        batch: sequences.
        seed: of numbers, filler and depths.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a length that the question alone fills or that the model cannot read.
    """
    check_sizes("passkey", length=length, digits=digits, batch=batch)
    known = Vocabulary.of(vocabulary)
    rng = random.Random(seed)
    passages = []
    for _ in range(batch):
        key, other = (f" {number}" for number in _distinct_numbers(rng, digits))
        hidden = _Needle("The pass key is", key, (other,))
        question = "\nWhat is the pass key? The pass key is"
        start = "Somewhere in this text there is a pass key. Remember it.\n"
        passages.append(_haystack("passkey", known, rng, [hidden], (start, question), length, depth, filler))
    return text_task("passkey", known, passages, bos=bos)


@register_task("needle", measures="retrieval of a sentence over a distance, retrieval heads")
def needle(
    vocabulary: Any,
    length: int = 256,
    *,
    depth: float | None = 0.5,
    others: int = 0,
    filler: str = "varied",
    batch: int = 8,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """A fact about a place hidden in a long text, asked for at the end.

    Scored is every token of the fact's second half (what to do in that place), which is to be copied word by word;
    `sources` are the same tokens in the needle, ``pieces["needle"]`` the whole sentence and ``pieces["value"]`` the
    half that is copied. Wrong answers are what there is to do elsewhere.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        length: tokens of the whole text, answer included; it is up to a sentence shorter.
        depth: share of the filler before the needle, from 0 to 1; None draws it for every sequence.
        others: facts about other places, at random depths; without any, the wrong answer is one that is not there.
        filler: "repeated" for one paragraph over and over, "varied" for random sentences, or a text of your own.
        batch: sequences.
        seed: of facts, filler and depths.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a length that the facts alone fill or that the model cannot read.
    """
    check_sizes("needle", length=length, batch=batch)
    check_sizes("needle", 0, others=others)
    if others >= len(_PLACES) - 1:
        raise InputError(f"others is {others}; there are facts about {len(_PLACES) - 2} other places.")
    known = Vocabulary.of(vocabulary)
    rng = random.Random(seed)
    passages = []
    for _ in range(batch):
        places = rng.sample(_PLACES, others + 1)
        values = [f" {value}" for value in rng.sample(_ACTIVITIES, others + 2)]
        wrong = values[1:-1] or values[-1:]
        needles = [
            _Needle(f"The best thing to do in {place} is to", value, wrong)
            for place, value in zip(places, values, strict=False)
        ]
        question = f"\nWhat is the best thing to do in {places[0]}? The best thing to do in {places[0]} is to"
        passages.append(_haystack("needle", known, rng, needles, ("", question), length, depth, filler))
    return text_task("needle", known, passages, bos=bos)


def _distinct_numbers(rng: random.Random, digits: int) -> list[str]:
    """Two numbers of as many digits, neither starting with 0."""
    low = 10 ** (digits - 1)
    return [str(number) for number in rng.sample(range(low, 10 * low), 2)]


def _haystack(
    task: str,
    known: Vocabulary,
    rng: random.Random,
    needles: Sequence[_Needle],
    frame: tuple[str, str],
    length: int,
    depth: float | None,
    kind: str,
) -> Passage:
    """One text: the frame's start, filler with the needles in it, the frame's question and the first needle's value."""
    if depth is not None and not 0 <= depth <= 1:
        raise InputError(f"depth is {depth}; it is a share of the filler, from 0 to 1.")
    start, question = frame
    fixed = [start, *(f" {each.start}{each.value}." for each in needles), question, needles[0].value]
    room = length - sum(len(known.encode(part)) for part in fixed)
    if room < 0:
        raise InputError(f"length is {length}; task {task!r} needs {length - room} tokens without any filler.")
    hay = fill(kind, rng, known, room)
    asked_at = round((rng.random() if depth is None else depth) * len(hay))
    places = [asked_at, *(rng.randint(0, len(hay)) for _ in needles[1:])]
    writer = PassageWriter()
    writer.add(start)
    value = None
    for place in range(len(hay) + 1):
        for number, each in enumerate(needles):
            if places[number] != place:
                continue
            first = writer.word(each.start)
            found = writer.add(each.value)
            last = writer.add(".")
            if number == 0:
                value = found
                writer.name("needle", Characters(first.start, last.stop))
                writer.name("value", found)
        if place < len(hay):
            writer.word(hay[place])
    writer.add(question, "question")
    writer.answer(needles[0].value, "answer", source=value, wrong=needles[0].wrong)
    return writer.passage()
