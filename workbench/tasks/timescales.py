"""Tasks whose length of memory is one number: the parity of the last N bits, and a match with the bit N steps ago.

Khajehabdollahi et al. 2024, "Emergent mechanisms for long timescales depend on training curriculum and affect
performance in memory tasks": both need the last N bits, and parity needs every one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task

# The state is the last bits as one number of 64 bits.
_MOST_BITS = 62


@register_task("n_parity", measures="timescales")
def n_parity(
    vocabulary: Any,
    n: int = 5,
    *,
    time: int = 64,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Random bits; at each of them, the parity of the last n.

    Read out from the n-th bit on, as one of two tokens ("even", "odd") that are not the bits; the other one is the
    distractor. `states` are the last n bits as a number, the latest bit in the lowest place, before the n-th bit -1.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        n: bits that count.
        time: bits of a sequence.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    return _read_bits("n_parity", vocabulary, n, n - 1, time, batch, seed, avoid, bos)


@register_task("delayed_match_to_sample", measures="timescales")
def delayed_match_to_sample(
    vocabulary: Any,
    n: int = 5,
    *,
    time: int = 64,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """Random bits; at each of them, whether it is that of n steps ago.

    Read out from the first bit that has such a one, as one of two tokens ("same", "different") that are not the bits;
    the other one is the distractor and the bit of n steps ago the source. `states` are the last n bits as a number, the
    latest bit in the lowest place, before the n-th bit -1.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        n: steps between a bit and the one it is compared with.
        time: bits of a sequence.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    return _read_bits("delayed_match_to_sample", vocabulary, n, n, time, batch, seed, avoid, bos)


def _read_bits(
    name: str,
    vocabulary: Any,
    n: int,
    first: int,
    time: int,
    batch: int,
    seed: int,
    avoid: Iterable[int] | None,
    bos: bool | int | None,
) -> Task:
    check_sizes(name, n=n, batch=batch)
    check_sizes(name, first + 1, time=time)
    if n > _MOST_BITS:
        raise InputError(f"n is {n}; the state of task {name!r} is a number of at most {_MOST_BITS} bits.")
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    symbols, answers = alphabet.parts(bits=2, answers=2)
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(2, (batch, time), generator=generator)
    at = torch.arange(first, time)
    windows = bits.unfold(1, n, 1)
    if name == "n_parity":
        right = windows.sum(-1) % 2
        sources = torch.full((batch, len(at)), -1)
    else:
        right = (bits[:, n:] != bits[:, :-n]).long()
        sources = (at - n).repeat(batch, 1)
    states = torch.full((batch, time), -1)
    states[:, n - 1 :] = (windows << torch.arange(n - 1, -1, -1)).sum(-1)
    return alphabet.finish(
        Task(
            name=name,
            tokens=symbols[bits],
            positions=at.repeat(batch, 1),
            answers=answers[right],
            sources=sources,
            labels=torch.zeros_like(right),
            label_names=("answer",),
            distractors=answers[1 - right][..., None],
            states=states,
        )
    )
