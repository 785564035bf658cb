"""Flip-flop language: a memory of one bit, written now and then, and read.

Liu et al. 2023, "Exposing Attention Glitches with Flip-Flop Language Modeling": the answer to a read is the bit of the
last write, however far back, and whatever the bits that are to be ignored say in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.base import NOT_SCORED, Task
from workbench.tasks.registry import register_task


@register_task("flip_flop", measures="memory of one bit over any distance")
def flip_flop(
    vocabulary: Any,
    pairs: int = 64,
    *,
    ignore: float = 0.8,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Instructions write, ignore and read, each with a bit; what is read is the bit of the last write.

    The first instruction writes, the last one reads, and those between ignore with a probability, else write or read
    alike. Scored are the bits of reads (label ``"read"``); the source is the bit of the last write, the other bit the
    distractor. `states` is the bit that is held, -1 before the first write.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        pairs: instructions, each with its bit.
        ignore: probability of an instruction to ignore its bit: the larger, the longer the distances.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "flip_flop"
    check_sizes(name, 2, pairs=pairs)
    check_sizes(name, batch=batch)
    if not 0 <= ignore <= 1:
        raise InputError(f"ignore is {ignore}; a probability is needed.")
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    symbols, instructions = alphabet.parts(bits=2, instructions=3)
    generator = torch.Generator().manual_seed(seed)
    chance = torch.tensor([(1 - ignore) / 2, ignore, (1 - ignore) / 2], dtype=torch.float64)
    done = torch.multinomial(chance.expand(batch, -1), pairs, replacement=True, generator=generator)
    done[:, 0], done[:, -1] = 0, 2
    bits = torch.randint(2, (batch, pairs), generator=generator)
    written = torch.where(done == 0, torch.arange(pairs), 0).cummax(1).values
    held = bits.gather(1, written)
    bits = torch.where(done == 2, held, bits)
    tokens = torch.stack([instructions[done], symbols[bits]], dim=2).flatten(1)

    # As many slots as the sequence with the most reads has; the others' spare ones, all at the front, do not count.
    reads = done == 2
    slots = int(reads.sum(1).max())
    at = torch.where(reads, torch.arange(pairs), -1).sort(1).values[:, -slots:]
    counts, at = at >= 0, at.clamp(min=0)
    before = torch.cat([torch.full((batch, 1), -1), held[:, :-1]], dim=1)
    return alphabet.finish(
        Task(
            name=name,
            tokens=tokens,
            positions=2 * at,
            answers=symbols[held.gather(1, at)],
            sources=torch.where(counts, 2 * written.gather(1, at) + 1, -1),
            labels=torch.where(counts, 0, NOT_SCORED),
            label_names=("read",),
            distractors=symbols[1 - held.gather(1, at)][..., None],
            states=torch.stack([before, held], dim=2).flatten(1),
        )
    )
