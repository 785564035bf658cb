"""Lists of words that come back: verbatim short-term memory, and which places of a list are remembered.

The repeated noun list is the paradigm of Armeni, Honey and Linzen (2022, "Characterizing Verbatim Short-Term Memory in
Neural Language Models"): transformers are hardly surprised by the second list even in detail, recurrent models by its
order as much as by the first. List recall asks for serial position curves, primacy and recency.
"""

from __future__ import annotations

import random
from typing import Any

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.tasks.alphabet import check_choice, check_sizes
from workbench.tasks.filler import fill
from workbench.tasks.intervals import Interval, bootstrap_mean
from workbench.tasks.metrics import TaskScores
from workbench.tasks.passages import Characters, PassageWriter
from workbench.tasks.registry import register_task
from workbench.tasks.text import TextTask, text_task
from workbench.tasks.vocabulary import Vocabulary
from workbench.tasks.words import NOUNS

SECOND = ("same", "permuted", "new")
ASK = ("all", "one")


@register_task("repeated_noun_list", measures="verbatim short-term memory of words and of their order")
def repeated_noun_list(
    vocabulary: Any,
    items: int = 5,
    *,
    second: str = "same",
    gap: int = 30,
    filler: str = "varied",
    batch: int = 8,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """A list of nouns, some text, and the list again: the same, permuted, or a new one.

    Scored are the tokens of all nouns, labelled ``"first"`` and ``"second"``; what the second list costs, as a share of
    the first, is `repeat_surprisal`. `sources` are the same nouns of the first list, where the second is the same; no
    context tells the next noun of a permuted or new list.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        items: nouns a list.
        second: the second list: "same", "permuted" (never the same order) or "new" (no noun of the first).
        gap: tokens of filler between the lists, at most; the sentence that announces the second list comes on top.
        filler: "repeated" for one paragraph over and over, "varied" for random sentences, or a text of your own.
        batch: sequences.
        seed: of nouns and filler: the same for all three kinds of second list.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a text longer than the model's context.
    """
    check_choice("repeated_noun_list", "second", second, SECOND)
    check_sizes("repeated_noun_list", batch=batch)
    check_sizes("repeated_noun_list", 0, gap=gap)
    check_sizes("repeated_noun_list", 2, items=items)
    _enough_nouns(2 * items)
    known = Vocabulary.of(vocabulary)
    rng = random.Random(seed)
    passages = []
    for _ in range(batch):
        drawn = rng.sample(NOUNS, 2 * items)
        between = fill(filler, rng, known, gap)
        order = _another_order(rng, items)
        nouns = drawn[:items]
        again = {"same": nouns, "permuted": [nouns[i] for i in order], "new": drawn[items:]}[second]
        writer = PassageWriter()
        writer.add("Before the journey Clara wrote down a list of words:")
        places = _write_list(writer, nouns, "first", [None] * items)
        writer.add(" ".join(["", *between]))
        writer.add(" In the evening she found the paper and read the list of words again:")
        _write_list(writer, again, "second", places if second == "same" else [None] * items)
        passages.append(writer.passage())
    return text_task("repeated_noun_list", known, passages, labels=("first", "second"), bos=bos)


@checked_call
def repeat_surprisal(scores: TaskScores, *, level: float = 0.95, seed: int = 0) -> Interval:
    """What the second list costs as a share of the first, with its interval over sequences.

    The surprisal of a list is the mean over its tokens, in nats; 1 is no memory of the first list, 0 a perfect one
    (Armeni et al. 2022, section 3.3, there in percent).

    Raises:
        InputError: scores of another task.
    """
    if scores.task.name != "repeated_noun_list":
        raise InputError(
            f"repeat_surprisal needs scores of 'repeated_noun_list', and these are of {scores.task.name!r}."
        )
    share = scores.per_sequence("loss", "second") / scores.per_sequence("loss", "first")
    return bootstrap_mean(share, level=level, seed=seed)


@register_task("list_recall", measures="primacy and recency: which places of a list are remembered")
def list_recall(
    vocabulary: Any,
    items: int = 8,
    *,
    ask: str = "one",
    repeats: int = 1,
    gap: int = 30,
    filler: str = "varied",
    batch: int = 16,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """A list of words, distracting text, and a word of the list asked for by its number, or all of them in order.

    Labels are the serial positions, ``"item_1"`` and so on; `sources` are the tokens of the word where it was last
    read, and wrong answers the list's other words.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        items: words a list.
        ask: "one" asks for a word by its number, each sequence for the next; "all" for the whole list in order, where
            every word has the one before it as a cue.
        repeats: how often the list is read before it is asked for.
        gap: tokens of filler before the question, at most.
        filler: "repeated" for one paragraph over and over, "varied" for random sentences, or a text of your own.
        batch: sequences; with `ask` "one", a multiple of `items` asks for every place equally often.
        seed: of words and filler.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a text longer than the model's context.
    """
    check_choice("list_recall", "ask", ask, ASK)
    check_sizes("list_recall", repeats=repeats, batch=batch)
    check_sizes("list_recall", 0, gap=gap)
    check_sizes("list_recall", 2, items=items)
    _enough_nouns(items)
    known = Vocabulary.of(vocabulary)
    rng = random.Random(seed)
    labels = [f"item_{number}" for number in range(1, items + 1)]
    passages = []
    for sequence in range(batch):
        nouns = rng.sample(NOUNS, items)
        writer = PassageWriter()
        places: list[Characters] = []
        for reading in range(repeats):
            writer.add("Here is a list of words to remember." if reading == 0 else " Here is the list once more.")
            places = []
            for number, noun in enumerate(nouns, start=1):
                writer.add(f" Word {number} is")
                places.append(writer.add(f" {noun}"))
                writer.add(".")
        writer.add(" ".join(["", *fill(filler, rng, known, gap)]))
        writer.add("\nNow the list again." if ask == "all" else "\nNow a word of the list.")
        for place in range(items) if ask == "all" else [sequence % items]:
            wrong = [f" {noun}" for noun in nouns]
            writer.add(f" Word {place + 1} is")
            writer.answer(f" {nouns[place]}", labels[place], source=places[place], wrong=wrong)
            writer.add(".")
        passages.append(writer.passage())
    return text_task("list_recall", known, passages, labels=labels, bos=bos)


@register_task("laundry_list", measures="recall of one of k items, communication between layers")
def laundry_list(
    vocabulary: Any,
    items: int = 4,
    *,
    batch: int = 16,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """A list of things, all of which but one are done with: which one is left?

    The task is that of Merullo et al. (2024, "Talking Heads"): the layers that tell each other which items are done
    with run out of room with the number of items, and treat the places of the list unequally. Labels are the place of
    what is left, ``"place_1"`` and so on; `sources` are the tokens of the item in the list; wrong answers are the items
    that are done with.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        items: things on the list.
        batch: sequences; a multiple of `items` asks for every place equally often.
        seed: of the things and their order.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a text longer than the model's context.
    """
    check_sizes("laundry_list", batch=batch)
    check_sizes("laundry_list", 2, items=items)
    _enough_nouns(items)
    known = Vocabulary.of(vocabulary)
    rng = random.Random(seed)
    passages = []
    for sequence in range(batch):
        nouns = rng.sample(NOUNS, items)
        left = sequence % items
        writer = PassageWriter()
        writer.add("This morning Peter had to clean")
        places = _write_things(writer, nouns)
        done = [noun for noun in nouns if noun != nouns[left]]
        rng.shuffle(done)
        writer.add(" So far he has cleaned")
        _write_things(writer, done)
        writer.add(" What is left is the")
        writer.answer(f" {nouns[left]}", f"place_{left + 1}", source=places[left], wrong=[f" {noun}" for noun in done])
        passages.append(writer.passage())
    return text_task("laundry_list", known, passages, labels=[f"place_{n + 1}" for n in range(items)], bos=bos)


def _enough_nouns(count: int) -> None:
    if count > len(NOUNS):
        raise InputError(f"{count} different nouns are needed, and there are {len(NOUNS)}; ask for fewer items.")


def _another_order(rng: random.Random, items: int) -> list[int]:
    """An order of the items that is not the one they are in."""
    order = list(range(items))
    while order == sorted(order):
        rng.shuffle(order)
    return order


def _write_list(
    writer: PassageWriter, nouns: list[str], label: str, sources: list[Characters] | list[None]
) -> list[Characters]:
    places = []
    for number, (noun, source) in enumerate(zip(nouns, sources, strict=True)):
        places.append(writer.answer(f" {noun}", label, source=source))
        writer.add("," if number < len(nouns) - 1 else ".")
    return places


def _write_things(writer: PassageWriter, nouns: list[str]) -> list[Characters]:
    """`` the hat, the coat and the shoe.``; returns where the nouns stand."""
    places = []
    for number, noun in enumerate(nouns):
        writer.add("" if number == 0 else " and" if number == len(nouns) - 1 else ",")
        writer.add(" the")
        places.append(writer.add(f" {noun}"))
    writer.add(".")
    return places
