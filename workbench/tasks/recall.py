"""Associative recall: key-value pairs, then keys whose values are asked for.

One query at the end (Ba et al. 2016, "Using Fast Weights to Attend to the Recent Past"), or many, at distances that
follow a power law as those of repeated words in text do (Arora et al. 2024, "Zoology: Measuring and Improving Recall in
Efficient Language Models", appendix). How many pairs a recurrent model can answer is set by the size of its state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task
from workbench.tasks.sampling import distinct


@register_task("associative_recall", measures="recall against the size of the state")
def associative_recall(
    vocabulary: Any,
    pairs: int = 8,
    *,
    gap: int = 0,
    asked: int | None = None,
    fillers: int = 1,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Key-value pairs, then one of the keys: what was its value?

    No key and no value comes twice in a sequence. Keys are every other allowed id, values the ones between, so that in
    a vocabulary sorted by frequency both are equally common. The distractors are the values of the other keys.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        pairs: key-value pairs.
        gap: filler tokens between the last pair and the query.
        asked: index of the pair that is asked for, from 0; None draws one for each sequence.
        fillers: different filler tokens, drawn at random: one is a blank, more are noise.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "associative_recall"
    check_sizes(name, pairs=pairs, fillers=fillers, batch=batch)
    check_sizes(name, 0, gap=gap)
    if asked is not None and not 0 <= asked < pairs:
        raise InputError(f"asked is {asked}; task {name!r} has the pairs 0..{pairs - 1}.")
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    generator = torch.Generator().manual_seed(seed)
    keys, values, filler = _draw_pairs(alphabet, generator, batch, pairs, fillers)
    if asked is None:
        chosen = torch.randint(pairs, (batch, 1), generator=generator)
    else:
        chosen = torch.full((batch, 1), asked)
    between = filler[torch.randint(fillers, (batch, gap), generator=generator)]
    context = torch.stack([keys, values], dim=2).flatten(1)
    tokens = torch.cat([context, between, keys.gather(1, chosen)], dim=1)
    positions = torch.full((batch, 1), tokens.shape[1] - 1)
    return alphabet.finish(_answered(name, tokens, positions, values, chosen))


@register_task("multi_query_recall", measures="recall against the size of the state")
def multi_query_recall(
    vocabulary: Any,
    pairs: int = 8,
    *,
    queries: int | None = None,
    length: int | None = None,
    power: float = 0.01,
    fillers: int = 1,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Key-value pairs, then many of the keys, each followed by its value again, at distances of a power law.

    Behind the pairs lie places of two tokens. Each query takes one, drawn without replacement with probabilities
    proportional to ``place ** (power - 1)``; the places that are left hold filler. Keys, values and distractors as in
    `associative_recall`; no key is asked for twice.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        pairs: key-value pairs.
        queries: keys asked for; all of them by default.
        length: tokens of a sequence; by default just what pairs and queries take.
        power: 1 spreads the queries evenly, towards 0 they crowd behind the pairs.
        fillers: different filler tokens, drawn at random: one is a blank, more are noise.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, a length that is odd or does not hold pairs and queries, too few tokens, or
            more tokens than the model's context.
    """
    name = "multi_query_recall"
    asked = pairs if queries is None else queries
    check_sizes(name, pairs=pairs, queries=asked, fillers=fillers, batch=batch)
    if asked > pairs:
        raise InputError(f"queries is {asked}; task {name!r} asks for each of the {pairs} keys once at most.")
    least = 2 * (pairs + asked)
    whole = least if length is None else length
    if whole < least or whole % 2:
        raise InputError(f"length is {whole}; {pairs} pairs and {asked} queries need an even number from {least} on.")
    if not 0 < power <= 1:
        raise InputError(f"power is {power}; an exponent above 0 and up to 1 is needed.")
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    generator = torch.Generator().manual_seed(seed)
    keys, values, filler = _draw_pairs(alphabet, generator, batch, pairs, fillers)
    places = whole // 2 - pairs
    weights = torch.arange(1, places + 1, dtype=torch.float64) ** (power - 1)
    taken = torch.multinomial(weights.expand(batch, -1), asked, generator=generator)
    chosen = distinct(generator, batch, pairs, asked)
    slots = filler[torch.randint(fillers, (batch, places, 2), generator=generator)]
    rows = torch.arange(batch)[:, None]
    slots[rows, taken, 0] = keys.gather(1, chosen)
    slots[rows, taken, 1] = values.gather(1, chosen)
    tokens = torch.cat([torch.stack([keys, values], dim=2).flatten(1), slots.flatten(1)], dim=1)
    order = taken.argsort(1)
    positions = 2 * pairs + 2 * taken.gather(1, order)
    return alphabet.finish(_answered(name, tokens, positions, values, chosen.gather(1, order)))


def _draw_pairs(
    alphabet: Alphabet, generator: torch.Generator, batch: int, pairs: int, fillers: int
) -> tuple[Int[Tensor, "batch pairs"], Int[Tensor, "batch pairs"], Int[Tensor, " fillers"]]:
    filler, _ = alphabet.parts(filler=fillers, keys_and_values=2 * pairs)
    rest = alphabet.ids[fillers:]
    keys, values = rest[0::2], rest[1::2]
    return (
        keys[distinct(generator, batch, len(keys), pairs)],
        values[distinct(generator, batch, len(values), pairs)],
        filler,
    )


def _answered(
    name: str,
    tokens: Int[Tensor, "batch time"],
    positions: Int[Tensor, "batch scored"],
    values: Int[Tensor, "batch pairs"],
    chosen: Int[Tensor, "batch scored"],
) -> Task:
    """The task whose predictions at `positions` are the values of the `chosen` pairs."""
    (batch, pairs), scored = values.shape, positions.shape[1]
    # The other pairs of pair c are c + 1, c + 2, ... round the circle.
    others = (chosen[..., None] + torch.arange(1, pairs)) % pairs
    wrong = values[:, None].expand(batch, scored, pairs).gather(2, others) if pairs > 1 else None
    return Task(
        name=name,
        tokens=tokens,
        positions=positions,
        answers=values.gather(1, chosen),
        sources=2 * chosen + 1,
        labels=torch.zeros_like(positions),
        label_names=("query",),
        distractors=wrong,
    )
