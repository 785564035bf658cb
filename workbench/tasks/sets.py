"""Set disjointness: the task on which reading order decides how much must be remembered.

Whether two sets meet can be told by remembering the smaller one, if it comes first; a model with a fixed state that
reads the larger one first must hold all of that. Reading the context twice takes the difference away (Arora et al.
2024, "Just read twice: closing the recall gap for recurrent language models").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task
from workbench.tasks.sampling import balanced
from workbench.tasks.sampling import distinct as draw_distinct


@dataclass(frozen=True, kw_only=True, repr=False)
class SetDisjointness(Task):
    """Two sets and whether they meet.

    Attributes:
        shared: where the common element stands in the first and in the second set, when they are read for the last
            time; -1 where there is none.
    """

    shared: Int[Tensor, "batch 2"] = field(metadata={"positions": True})


@register_task("set_disjointness", measures="memory needed against reading order")
def set_disjointness(
    vocabulary: Any,
    first: int = 4,
    second: int = 16,
    *,
    times: int = 1,
    elements: int | None = None,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> SetDisjointness:
    """Two sets, a separator behind each; then: do they meet?

    Half of the sequences (label ``"meeting"``) have exactly one element in both sets, the others (``"disjoint"``) none.
    The answer is one of two tokens, and the other one is the distractor; the source is the common element in the second
    set, at which the answer can first be known.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        first: elements of the set that is read first.
        second: elements of the other one; exchange the two to swap the order.
        times: how often both sets are read before the answer.
        elements: different tokens that elements are drawn from; all allowed ones by default.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "set_disjointness"
    check_sizes(name, first=first, second=second, times=times, batch=batch)
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    universe = max(len(alphabet.ids) - 4, 0) if elements is None else elements
    check_sizes(name, first + second, elements=universe)
    answers, separators, pool = alphabet.parts(answers=2, separators=2, elements=universe)
    generator = torch.Generator().manual_seed(seed)
    drawn = draw_distinct(generator, batch, universe, first + second)
    disjoint = balanced(generator, batch, 2)
    in_first = torch.randint(first, (batch,), generator=generator)
    in_second = first + torch.randint(second, (batch,), generator=generator)
    rows = torch.arange(batch)
    drawn[rows, in_second] = torch.where(disjoint == 1, drawn[rows, in_second], drawn[rows, in_first])
    one = pool[drawn[:, :first]]
    other = pool[drawn[:, first:]]
    context = torch.cat([one, separators[:1].expand(batch, 1), other, separators[1:].expand(batch, 1)], dim=1)
    last = context.shape[1] * (times - 1)
    # The first separator lies before the second set.
    shared = last + torch.stack([in_first, in_second + 1], dim=1)
    shared = torch.where(disjoint[:, None] == 1, -1, shared)
    tokens = context.repeat(1, times)
    return alphabet.finish(
        SetDisjointness(
            name=name,
            tokens=tokens,
            positions=torch.full((batch, 1), tokens.shape[1] - 1),
            answers=answers[disjoint][:, None],
            sources=shared[:, 1:],
            labels=disjoint[:, None],
            label_names=("meeting", "disjoint"),
            distractors=answers[1 - disjoint][:, None, None],
            shared=shared,
        )
    )
