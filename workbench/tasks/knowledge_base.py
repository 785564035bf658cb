"""Questions about a few made-up facts that stand before them: over two hops, and against their direction.

A question over two hops can be answered only through a bridge that it does not name (Yang et al. 2024, "Do Large
Language Models Latently Perform Multi-Hop Reasoning?"; Biran et al. 2024, "Hopping Too Late", who write late residual
streams back into early layers). Facts are learned in one direction (Berglund et al. 2023, "The Reversal Curse"), while
in context both can be read: what differs between the two here is where the answer stands to what is asked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from workbench.errors import InputError
from workbench.tasks.alphabet import check_choice, check_sizes
from workbench.tasks.passages import Characters, PassageWriter
from workbench.tasks.registry import register_task
from workbench.tasks.text import TextTask, text_task
from workbench.tasks.words import CITIES, NOUNS, PERSONS

HOPS = ("first_hop", "second_hop", "two_hops", "all")
DIRECTIONS = ("forward", "reverse", "both")

_TITLES = (
    "the painter of the Blue Gate", "the author of the Winter Songs", "the builder of the Long Bridge",
    "the founder of the Glass Museum", "the captain of the Silver Swan", "the owner of the Green Hotel",
    "the mayor of the Upper Town", "the inventor of the Steam Clock", "the winner of the River Race",
    "the teacher of the Village Choir", "the keeper of the Old Library", "the designer of the Star Garden",
)  # fmt: skip

# So that no name starts the text: without a space before it, it would be another token than where it is asked for.
_OPENING = "Here is what we know."


@register_task("two_hop", measures="reasoning over a bridge entity: first hop, second hop, both")
def two_hop(
    vocabulary: Any,
    chains: int = 4,
    *,
    ask: str = "all",
    batch: int = 12,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """Who owns a thing, where that person lives, and where the owner of the thing lives.

    Every sequence states, in random order, the two facts of each chain (``The owner of the lamp is Anna.``, ``Anna
    lives in Rome.``) and asks about one chain: ``"first_hop"`` for the owner, ``"second_hop"`` for where that person
    lives, ``"two_hops"`` for where the owner of the thing lives, which names no person. `sources` are the tokens of the
    answer in the facts: for the first hop, the bridge. ``pieces["bridge"]`` is the person in the first fact,
    ``pieces["bridge_again"]`` in the second, ``pieces["subject"]`` the thing in the first fact and
    ``pieces["asked"]`` what the last line names. Wrong answers are those of the other chains.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        chains: things, each with an owner and a city of its own.
        ask: which question; "all" asks the three in turn, three sequences with the same facts.
        batch: sequences.
        seed: of the facts.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a text longer than the model's context.
    """
    check_choice("two_hop", "ask", ask, HOPS)
    check_sizes("two_hop", batch=batch)
    check_sizes("two_hop", 2, chains=chains)
    most = min(len(PERSONS), len(CITIES))
    if chains > most:
        raise InputError(f"chains is {chains}; there are {most} persons and cities.")
    asked: Sequence[str] = HOPS[:-1] if ask == "all" else (ask,)
    rng = random.Random(seed)
    passages = []
    for sequence in range(batch):
        hop = asked[sequence % len(asked)]
        if hop == asked[0]:
            things, owners, cities = (rng.sample(words, chains) for words in (NOUNS, PERSONS, CITIES))
            order = rng.sample(range(2 * chains), 2 * chains)
        writer = PassageWriter()
        writer.add(_OPENING)
        owner_at = city_at = Characters(0, 0)
        for fact in order:
            chain = fact // 2
            about = chain == 0  # The facts are in random order, so it may always be the first chain that is asked for.
            if fact % 2 == 0:
                writer.word("The owner of the")
                writer.add(f" {things[chain]}", "subject" if about else None)
                writer.add(" is")
                place = writer.add(f" {owners[chain]}", "bridge" if about else None)
                owner_at = place if about else owner_at
            else:
                writer.word(owners[chain], "bridge_again" if about else None)
                writer.add(" lives in")
                place = writer.add(f" {cities[chain]}")
                city_at = place if about else city_at
            writer.add(".")
        named = owners[0] if hop == "second_hop" else f"the owner of the {things[0]}"
        writer.add(f"\nQuestion: Who is {named}?" if hop == "first_hop" else f"\nQuestion: Where does {named} live?")
        writer.add("\nAnswer:")
        if hop == "second_hop":
            writer.word(owners[0], "asked")
        else:
            writer.add(" The owner of the")
            writer.add(f" {things[0]}", "asked")
        writer.add(" is" if hop == "first_hop" else " lives in")
        answers, source = (owners, owner_at) if hop == "first_hop" else (cities, city_at)
        writer.answer(f" {answers[0]}", hop, source=source, wrong=[f" {other}" for other in answers])
        passages.append(writer.passage())
    return text_task("two_hop", vocabulary, passages, labels=asked, bos=bos)


@register_task("reversal", measures="direction of knowledge: A is B read, B is A asked")
def reversal(
    vocabulary: Any,
    facts: int = 4,
    *,
    ask: str = "both",
    batch: int = 16,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """Anna is the painter of the Blue Gate, is what is read; asked is who Anna is, or who the painter is.

    Labels are ``"forward"`` (from the name to the description, as it was read) and ``"reverse"`` (from the description
    to the name). `sources` are the tokens of the answer in its fact, wrong answers those of the other facts.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        facts: persons, each with a description.
        ask: "forward", "reverse", or "both" in turn, two sequences with the same facts.
        batch: sequences.
        seed: of the facts.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, or a text longer than the model's context.
    """
    check_choice("reversal", "ask", ask, DIRECTIONS)
    check_sizes("reversal", batch=batch)
    check_sizes("reversal", 2, facts=facts)
    if facts > len(_TITLES):
        raise InputError(f"facts is {facts}; there are {len(_TITLES)} descriptions.")
    asked: Sequence[str] = ("forward", "reverse") if ask == "both" else (ask,)
    rng = random.Random(seed)
    passages = []
    for sequence in range(batch):
        direction = asked[sequence % len(asked)]
        if direction == asked[0]:
            persons, titles = rng.sample(PERSONS, facts), rng.sample(_TITLES, facts)
            about = rng.randrange(facts)
        writer = PassageWriter()
        writer.add(_OPENING)
        places = []
        for person, title in zip(persons, titles, strict=True):
            name = writer.word(person)
            writer.add(" is")
            places.append((name, writer.add(f" {title}")))
            writer.add(".")
        name_at, title_at = places[about]
        named = persons[about] if direction == "forward" else titles[about]
        writer.add(f"\nQuestion: Who is {named}?\nAnswer: {named[0].upper()}{named[1:]} is")
        if direction == "forward":
            writer.answer(f" {titles[about]}", direction, source=title_at, wrong=[f" {title}" for title in titles])
        else:
            writer.answer(f" {persons[about]}", direction, source=name_at, wrong=[f" {name}" for name in persons])
        writer.add(".")
        passages.append(writer.passage())
    return text_task("reversal", vocabulary, passages, labels=asked, bos=bos)
