"""Copying a string after a separator.

A model with attention copies strings of any length with two layers; a model with a fixed state copies only what the
state holds, and either may fail beyond the lengths it was trained on (Jelassi et al. 2024, "Repeat After Me:
Transformers are Better than State Space Models at Copying").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_sizes, length_labels
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task
from workbench.tasks.sampling import distinct as draw_distinct


@register_task("copying", measures="length generalisation of copying")
def copying(
    vocabulary: Any,
    length: int = 32,
    *,
    symbols: int | None = None,
    distinct: bool = False,
    trained: int | None = None,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """A random string, a separator, and the string again.

    Every token of the second string is scored; its source is its place in the first one.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        length: tokens of the string.
        symbols: different tokens the strings are made of; all allowed ones by default.
        distinct: no token twice in a string, so that every source is unique.
        trained: the longest string trained on: the labels are then ``"within"`` for its first `trained` tokens and
            ``"beyond"``; by default ``"answer"``.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "copying"
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    size = max(len(alphabet.ids) - 1, 1) if symbols is None else symbols
    check_sizes(name, length=length, symbols=size, batch=batch)
    separator, letters = alphabet.parts(separator=1, symbols=size)
    if distinct and length > size:
        raise InputError(f"A string of {length} distinct tokens cannot be drawn from {size}; pass distinct=False.")
    generator = torch.Generator().manual_seed(seed)
    if distinct:
        drawn = draw_distinct(generator, batch, size, length)
    else:
        drawn = torch.randint(size, (batch, length), generator=generator)
    string = letters[drawn]
    steps = torch.arange(length)
    labels, label_names = length_labels(steps + 1, trained)
    return alphabet.finish(
        Task(
            name=name,
            tokens=torch.cat([string, separator.expand(batch, 1), string], dim=1),
            positions=(length + steps).repeat(batch, 1),
            answers=string,
            sources=steps.repeat(batch, 1),
            labels=labels.repeat(batch, 1),
            label_names=label_names,
        )
    )
