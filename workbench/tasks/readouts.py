"""Something to tell at every position: a count, an order, a balance.

Weiss et al. 2021, "Thinking Like Transformers" (RASP): programs of known attention patterns solve these, so that what
a trained model does can be held against them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task
from workbench.tasks.sampling import balanced, distinct


@register_task("histogram", measures="counting with a known attention pattern")
def histogram(
    vocabulary: Any,
    time: int = 16,
    *,
    symbols: int = 8,
    whole: bool = False,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Random symbols; at each of them, how often it has come.

    A reader that looks at all equal symbols alike has the answer (and needs a first token to look at besides). Read out
    as one token for each count, with the neighbouring counts as distractors.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        time: symbols.
        symbols: different ones.
        whole: count in the whole string, which is then read twice and scored the second time, as a reader who cannot
            look ahead must; else in what has been read so far, the symbol itself included.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "histogram"
    check_sizes(name, time=time, symbols=symbols, batch=batch)
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    letters, counts = alphabet.parts(symbols=symbols, counts=time + 1)
    drawn = torch.randint(symbols, (batch, time), generator=torch.Generator().manual_seed(seed))
    equal = drawn[:, :, None] == drawn[:, None, :]
    right = (equal if whole else equal.tril()).sum(-1)
    tokens = letters[drawn].repeat(1, 2 if whole else 1)
    at = torch.arange(tokens.shape[1] - time, tokens.shape[1])
    # The count that is one too small, and the one too large; the largest possible one has only the first, twice.
    wrong = torch.stack([right - 1, torch.where(right < time, right + 1, right - 1)], dim=2)
    return alphabet.finish(
        Task(
            name=name,
            tokens=tokens,
            positions=at.repeat(batch, 1),
            answers=counts[right],
            sources=torch.full_like(right, -1),
            labels=torch.zeros_like(right),
            label_names=("count",),
            distractors=counts[wrong],
        )
    )


@register_task("sort", measures="order with a known attention pattern")
def sort(
    vocabulary: Any,
    length: int = 10,
    *,
    symbols: int | None = None,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Different symbols in random order, a separator, and the same symbols in the order of their ids.

    Every sorted symbol is scored; its source is its place in the first list, the other symbols of the list are the
    distractors.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        length: symbols of a list.
        symbols: different tokens that they are drawn from; all allowed ones by default.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "sort"
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    size = max(len(alphabet.ids) - 1, 0) if symbols is None else symbols
    check_sizes(name, length=length, batch=batch)
    check_sizes(name, length, symbols=size)
    separator, letters = alphabet.parts(separator=1, symbols=size)
    drawn = distinct(torch.Generator().manual_seed(seed), batch, size, length)
    ordered, sources = drawn.sort(1)
    others = (torch.arange(length)[:, None] + torch.arange(1, length)) % length
    steps = torch.arange(length)
    return alphabet.finish(
        Task(
            name=name,
            tokens=torch.cat([letters[drawn], separator.expand(batch, 1), letters[ordered]], dim=1),
            positions=(length + steps).repeat(batch, 1),
            answers=letters[ordered],
            sources=sources,
            labels=torch.zeros_like(sources),
            label_names=("sorted",),
            distractors=letters[ordered[:, others]] if length > 1 else None,
        )
    )


@register_task("dyck_balance", measures="balance with a known attention pattern")
def dyck_balance(
    vocabulary: Any,
    kinds: int = 2,
    *,
    time: int = 20,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Brackets; at each of them, whether the text so far can be completed, is balanced, or is broken for good.

    Read out as one of three tokens, which are also the labels ``"open"``, ``"balanced"`` and ``"broken"``; the other
    two are the distractors. Half of the sequences are broken somewhere, by a bracket that closes what is not the
    innermost open one. `states` is the number of open brackets, -1 once broken.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        kinds: different pairs of brackets.
        time: brackets of a sequence.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "dyck_balance"
    check_sizes(name, kinds=kinds, time=time, batch=batch)
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    brackets, answers = alphabet.parts(brackets=2 * kinds, answers=3)
    generator = torch.Generator().manual_seed(seed)
    closes = torch.randint(2, (batch, time), generator=generator) == 1
    kind = torch.randint(kinds, (batch, time), generator=generator)
    breaks = torch.randint(time, (batch,), generator=generator)
    breaks = torch.where(balanced(generator, batch, 2) == 1, breaks, time)

    rows = torch.arange(batch)
    stack = torch.zeros(batch, time + 1, dtype=torch.long)
    depth, broken = torch.zeros(batch, dtype=torch.long), torch.zeros(batch, dtype=torch.bool)
    drawn, depths = [], []
    for step in range(time):
        innermost = stack[rows, depth]
        # With one kind of bracket only a bracket too many can break; it is then waited for until nothing is open.
        wanted = (breaks <= step) & ~broken & ((depth == 0) | (kinds > 1))
        # Any kind but the innermost one, when something is open.
        wrong = (innermost + 1 + kind[:, step] % max(kinds - 1, 1)) % kinds
        wrong = torch.where(depth == 0, kind[:, step], wrong)
        closing = torch.where(broken, closes[:, step], wanted | (closes[:, step] & (depth > 0)))
        closed = torch.where(broken, kind[:, step], torch.where(wanted, wrong, innermost))
        drawn.append(torch.where(closing, kinds + closed, kind[:, step]))
        broken = broken | wanted
        depth = torch.where(broken, depth, depth + torch.where(closing, -1, 1))
        opened = ~broken & ~closing
        stack[rows[opened], depth[opened]] = kind[opened, step]
        depths.append(torch.where(broken, -1, depth))
    states = torch.stack(depths, dim=1)
    right = torch.where(states > 0, 0, torch.where(states == 0, 1, 2))
    return alphabet.finish(
        Task(
            name=name,
            tokens=brackets[torch.stack(drawn, dim=1)],
            positions=torch.arange(time).repeat(batch, 1),
            answers=answers[right],
            sources=torch.full_like(right, -1),
            labels=right,
            label_names=("open", "balanced", "broken"),
            distractors=answers[(right[..., None] + torch.arange(1, 3)) % 3],
            states=states,
        )
    )
