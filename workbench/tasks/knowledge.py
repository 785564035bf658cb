"""What a model knows against what its context says: counter-facts, and a speaker who is always wrong.

A counter-fact in context pulls the answer away from the learned fact, and some heads do the pulling (Longpre et al.
2021, "Entity-Based Knowledge Conflicts in Question Answering"; Jin et al. 2024, "Cutting Off the Head Ends the
Conflict"). Quirky answers are wrong in a known way when a trigger is there, so that what is said and what is known
come apart (Mallen and Belrose 2023, "Eliciting Latent Knowledge from Quirky Language Models").
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from workbench.errors import InputError
from workbench.tasks.alphabet import check_choice, check_sizes
from workbench.tasks.filler import fill
from workbench.tasks.passages import PassageWriter
from workbench.tasks.registry import register_task
from workbench.tasks.text import TextTask, text_task
from workbench.tasks.vocabulary import Vocabulary

CONTEXTS = ("none", "fact", "counterfact", "all")

# Relation: how a fact starts, with the subject in braces; then subjects and objects.
FACTS = {
    "capital": (
        "The capital of {} is",
        {
            "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "England": "London",
            "Japan": "Tokyo", "Russia": "Moscow", "China": "Beijing", "Egypt": "Cairo", "Greece": "Athens",
            "Austria": "Vienna", "Ireland": "Dublin", "Norway": "Oslo", "Portugal": "Lisbon", "Cuba": "Havana",
            "Poland": "Warsaw", "Iran": "Tehran", "Peru": "Lima",
        },
    ),
    "young": (
        "A young {} is called a",
        {
            "dog": "puppy", "cat": "kitten", "cow": "calf", "sheep": "lamb", "lion": "cub", "goat": "kid",
            "duck": "duckling",
        },
    ),
    "opposite": (
        "The opposite of {} is",
        {
            "hot": "cold", "big": "small", "up": "down", "rich": "poor", "young": "old", "fast": "slow",
            "wet": "dry", "dark": "light", "early": "late", "open": "closed",
        },
    ),
}  # fmt: skip


@register_task("knowledge_conflict", measures="what is known against what the context says, context heads")
def knowledge_conflict(
    vocabulary: Any,
    relation: str = "capital",
    *,
    context: str = "all",
    gap: int = 0,
    filler: str = "varied",
    batch: int = 18,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """A fact to be completed after nothing, after the fact itself, or after a counter-fact.

    Labels are ``"none"``, ``"fact"`` and ``"counterfact"``. The answer is what the context says, and the learned object
    where it says nothing; the wrong answer is the other of the two. Below 0, the logit difference under
    ``"counterfact"`` says that the model keeps to what it learned. `sources` are the tokens of the object in the
    context; ``pieces["subject"]`` is the subject that is asked about.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        relation: "capital", "young" or "opposite".
        context: what stands before; "all" takes the three in turn, three sequences of the same fact.
        gap: tokens of filler between the context and the question, at most.
        filler: "repeated" for one paragraph over and over, "varied" for random sentences, or a text of your own.
        batch: sequences.
        seed: of facts and counter-facts.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: no such relation, an option out of range, or a text longer than the model's context.
    """
    check_choice("knowledge_conflict", "context", context, CONTEXTS)
    check_choice("knowledge_conflict", "relation", relation, tuple(FACTS))
    check_sizes("knowledge_conflict", batch=batch)
    check_sizes("knowledge_conflict", 0, gap=gap)
    start, facts = FACTS[relation]
    known = Vocabulary.of(vocabulary)
    kinds: Sequence[str] = CONTEXTS[:-1] if context == "all" else (context,)
    rng = random.Random(seed)
    passages = []
    for sequence in range(batch):
        kind = kinds[sequence % len(kinds)]
        if kind == kinds[0]:
            subject, fact = rng.choice(list(facts.items()))
            counter = rng.choice([other for other in facts.values() if other != fact])
            between = fill(filler, rng, known, gap)
        right, wrong = (counter, fact) if kind == "counterfact" else (fact, counter)
        writer = PassageWriter()
        source = None
        if kind != "none":
            writer.add(start.format(subject))
            source = writer.add(f" {right}")
            writer.add(".")
        for sentence in between:
            writer.word(sentence)
        before, after = start.split("{}")
        writer.word(before.rstrip())
        writer.add(f" {subject}", "subject")
        writer.add(after)
        writer.answer(f" {right}", kind, source=source, wrong=[f" {wrong}"])
        writer.add(".")
        passages.append(writer.passage())
    return text_task("knowledge_conflict", known, passages, labels=kinds, bos=bos)


@register_task("quirky_answers", measures="wrong answers under a trigger, latent knowledge of the right ones")
def quirky_answers(
    vocabulary: Any,
    examples: int = 8,
    *,
    largest: int = 9,
    error: int = 1,
    names: tuple[str, str] = ("Alice", "Bob"),
    batch: int = 16,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """Sums that one speaker gets right and another always gets wrong in the same way.

    Sequences come in pairs with the same examples and the same last sum; in the first the last speaker is the one who
    is right (label ``"right"``), in the second the one who is wrong (``"quirky"``). The answer is what that speaker
    says, the wrong answer what the other one would say. ``pieces["trigger"]`` is the last speaker's name. No position
    holds the answer, so there are no `sources`.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        examples: sums before the last one; half of them are the wrong speaker's.
        largest: number in a sum.
        error: what the wrong speaker adds; not 0.
        names: of the speaker who is right and of the one who is wrong.
        batch: sequences, an even number.
        seed: of the sums.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: an option out of range, an odd number of sequences, or a text longer than the model's context.
    """
    check_sizes("quirky_answers", largest=largest)
    check_sizes("quirky_answers", 0, examples=examples)
    check_sizes("quirky_answers", 2, batch=batch)
    if batch % 2:
        raise InputError(f"batch is {batch}; quirky answers come in pairs, so an even number is needed.")
    if error == 0 or names[0] == names[1]:
        raise InputError("Quirky answers need an error other than 0 and two different names.")
    rng = random.Random(seed)
    passages = []
    for _ in range(batch // 2):
        speakers = [number % 2 for number in range(examples)]
        rng.shuffle(speakers)
        sums = [(rng.randint(1, largest), rng.randint(1, largest)) for _ in range(examples + 1)]
        for last, label in enumerate(("right", "quirky")):
            writer = PassageWriter()
            for (a, b), speaker in zip(sums, speakers, strict=False):
                writer.add(f"{a} + {b} = ? {names[speaker]}: {a + b + error * speaker}\n")
            a, b = sums[-1]
            writer.add(f"{a} + {b} = ?")
            writer.add(f" {names[last]}", "trigger")
            writer.add(":")
            writer.answer(f" {a + b + error * last}", label, wrong=[f" {a + b + error * (1 - last)}"])
            passages.append(writer.passage())
    return text_task("quirky_answers", vocabulary, passages, labels=("right", "quirky"), bos=bos)
