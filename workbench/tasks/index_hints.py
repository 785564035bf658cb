"""Parity of a bit string, with a scratchpad and index hints that make it learnable for longer strings.

Zhou et al. 2023, "What Algorithms can Transformers Learn? A Study in Length Generalization": the running parity of a
string can be written down by a Transformer of any length once each bit carries the name of its place, because to find
the next bit is then to find a name. To a recurrent model the hints say nothing that its state does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task


@register_task("parity", measures="random access, length generalisation")
def parity(
    vocabulary: Any,
    length: int = 20,
    *,
    hints: bool = False,
    scratchpad: bool = True,
    indices: int | None = None,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> Task:
    """A bit string, a separator, and its parity: step by step with a scratchpad, at once without.

    With hints every bit, and every running parity, stands behind the token of its place; places are counted from a
    random one on, so that a model trained on short strings has seen every place's token. Scored are the parities:
    ``"running"`` ones and the ``"final"`` one, with the bit that comes in as source (without a scratchpad no single bit
    decides); each is written as a bit, and the other bit is the distractor. `states` is the parity of the bits so far,
    -1 outside the string.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        length: bits.
        hints: whether places have names.
        scratchpad: whether the running parity is written down; else the separator is followed by the final one.
        indices: different place tokens, at least `length`, which is the default.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "parity"
    check_sizes(name, length=length, batch=batch)
    places = length if indices is None else indices
    check_sizes(name, length, indices=places)
    if indices is not None and not hints:
        raise InputError("indices are the tokens of hints; pass hints=True with them.")
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    symbols, separator, index = alphabet.parts(bits=2, separator=1, indices=places if hints else 0)
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(2, (batch, length), generator=generator)
    running = bits.cumsum(1) % 2
    steps = torch.arange(length)

    begins = torch.randint(places - length + 1, (batch, 1), generator=generator)
    named = index[begins + steps] if hints else None
    string, written = _named(symbols[bits], named), _named(symbols[running], named)
    stride = 2 if hints else 1
    tokens = torch.cat([string, separator.expand(batch, 1), written], dim=1)
    # What predicts the parity of step k is the token before it: its hint, or the parity before.
    positions = stride * length + stride * steps + (1 if hints else 0)
    sources = stride * steps + (1 if hints else 0)
    labels = (steps == length - 1).long()
    if not scratchpad:
        # The separator is read, and the final parity is the next token; no single bit decides it.
        tokens = tokens[:, : stride * length + 1]
        positions, sources, labels = positions.new_tensor([stride * length]), steps.new_tensor([-1]), labels[-1:]
        running = running[:, -1:]
    states = torch.full_like(tokens, -1)
    states[:, : stride * length] = _held(bits.cumsum(1) % 2, stride)
    return alphabet.finish(
        Task(
            name=name,
            tokens=tokens,
            positions=positions.repeat(batch, 1),
            answers=symbols[running],
            sources=sources.repeat(batch, 1),
            labels=labels.repeat(batch, 1),
            label_names=("running", "final"),
            distractors=symbols[1 - running][..., None],
            states=states,
        )
    )


def _named(symbols: Tensor, named: Tensor | None) -> Tensor:
    return symbols if named is None else torch.stack([named, symbols], dim=2).flatten(1)


def _held(running: Tensor, stride: int) -> Tensor:
    """The running parity after each token: a hint leaves it as it was, and before the first bit it is 0."""
    if stride == 1:
        return running
    before = torch.cat([torch.zeros_like(running[:, :1]), running[:, :-1]], dim=1)
    return torch.stack([before, running], dim=2).flatten(1)
