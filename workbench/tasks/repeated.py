"""Repeated random tokens: the task on which induction and copying show.

A block of random tokens, then the same block again. Nothing predicts the first copy, and everything in the second but
its first token can be copied from the position after the previous occurrence of the current token (Elhage et al. 2021,
"A Mathematical Framework for Transformer Circuits"; Olsson et al. 2022, "In-context Learning and Induction Heads").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task
from workbench.tasks.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True, repr=False)
class RepeatedTokens(Task):
    """Copies of a block, one after the other.

    Attributes:
        block: tokens a block.
        copies: how often the block is there.
        offset: where the first copy starts: 1 behind a beginning-of-sequence token, else 0.
    """

    block: int
    copies: int
    offset: int


@register_task("repeated_random_tokens", measures="induction, copying")
def repeated_random_tokens(
    vocabulary: Any,
    block: int = 50,
    *,
    copies: int = 2,
    batch: int = 8,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
    distinct: bool = True,
) -> RepeatedTokens:
    """Random tokens, repeated.

    Scored are the predictions of every token that is part of the first copy and has a token before it (``"first"``:
    chance), and of every later token whose predecessor occurred before (``"second"``, ``"copy_3"``, ...). The first
    token of the second copy counts for neither: no context tells that the block is about to start again.

    Args:
        vocabulary: a vocabulary size, or a hooked model, whose size, special tokens and device are then used.
        block: tokens a block.
        copies: repetitions, at least 2.
        batch: independent sequences, each with its own block.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that never appear in a block; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.
        distinct: no token twice within a block, so that every source position is unique. Where False, `sources` names
            the position one block earlier although an equal token may lie elsewhere too.

    Raises:
        InputError: block, copies or batch out of range, too few tokens to choose from, no `bos` token to put, or more
            tokens than the model's context.
    """
    known = Vocabulary.of(vocabulary)
    for name, value, least in (("block", block, 1), ("copies", copies, 2), ("batch", batch, 1)):
        if value < least:
            raise InputError(f"{name} is {value}; repeated random tokens need {name} >= {least}.")
    first = known.bos(bos)
    known.check_length(copies * block + (first is not None), "repeated_random_tokens")
    ids = known.plain(avoid)
    if first is not None:
        ids = ids[ids != first]
    if len(ids) < (block if distinct else 1):
        raise InputError(
            f"A block of {block} distinct tokens cannot be drawn from {len(ids)} allowed ones; "
            "take a shorter block or pass distinct=False."
        )

    generator = torch.Generator().manual_seed(seed)
    if distinct:
        drawn = torch.stack([torch.randperm(len(ids), generator=generator)[:block] for _ in range(batch)])
    else:
        drawn = torch.randint(len(ids), (batch, block), generator=generator)
    tokens = ids[drawn].repeat(1, copies)
    offset = 0
    if first is not None:
        tokens = torch.cat([torch.full((batch, 1), first), tokens], dim=1)
        offset = 1

    answer_at = torch.arange(1, offset + copies * block)
    answer_at = answer_at[answer_at != offset + block]
    copy = (answer_at - offset) // block
    source = torch.where(copy > 0, answer_at - block, -1)

    def every_sequence(row: Tensor) -> Tensor:
        return row.expand(batch, -1).contiguous().to(known.device)

    return RepeatedTokens(
        name="repeated_random_tokens",
        tokens=tokens.to(known.device),
        positions=every_sequence(answer_at - 1),
        answers=tokens[:, answer_at].to(known.device),
        sources=every_sequence(source),
        labels=every_sequence(copy),
        label_names=("first", "second", *(f"copy_{n}" for n in range(3, copies + 1))),
        block=block,
        copies=copies,
        offset=offset,
    )
