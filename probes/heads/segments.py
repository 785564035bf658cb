"""A needle for models that cannot read: a run of random tokens in random tokens, whose beginning is shown again.

The words of a needle in a haystack mean nothing to a model without a tokenizer, or to a small one. What retrieval takes
is left: somewhere in the text stands what must come next.
"""

from __future__ import annotations

from typing import Any

import torch

from workbench.errors import InputError
from workbench.tasks import Task, Vocabulary


def hidden_segment(
    vocabulary: Any,
    length: int = 128,
    *,
    depth: float | None = 0.5,
    needle: int = 8,
    cue: int = 3,
    batch: int = 8,
    seed: int = 0,
    bos: bool | int | None = None,
) -> Task:
    """Random tokens, a run of which is begun once more at the end.

    Scored is every token of the run behind its first `cue` tokens, labelled ``"answer"``; `sources` are the same tokens
    where they stood first. No token of the run occurs elsewhere.

    Args:
        vocabulary: a vocabulary size, or a hooked model.
        length: tokens of the whole text, the second run included.
        depth: share of the filler before the run, from 0 to 1; None draws it for every sequence.
        needle: tokens of the run.
        cue: of these, how many are shown again.
        batch: sequences.
        seed: of tokens and depths.
        bos: token in front, as in `repeated_random_tokens`.

    Raises:
        InputError: an option out of range, or too few tokens to choose from.
    """
    known = Vocabulary.of(vocabulary)
    first = known.bos(bos)
    ids = known.plain()
    ids = ids if first is None else ids[ids != first]
    front = 0 if first is None else 1
    room = length - front - 2 * needle
    if not 1 <= cue < needle:
        raise InputError(f"cue is {cue}; of a needle of {needle} tokens, 1..{needle - 1} can be shown again.")
    if room < 0:
        raise InputError(f"length is {length}; two runs of {needle} tokens need {length - room} without any filler.")
    if depth is not None and not 0 <= depth <= 1:
        raise InputError(f"depth is {depth}; it is a share of the filler, from 0 to 1.")
    if batch < 1 or len(ids) <= needle:
        raise InputError(f"A needle of {needle} tokens in {batch} sequences cannot be drawn from {len(ids)} tokens.")
    known.check_length(length, "hidden_segment")
    generator = torch.Generator().manual_seed(seed)
    rows, sources = [], []
    for _ in range(batch):
        order = ids[torch.randperm(len(ids), generator=generator)]
        run, others = order[:needle], order[needle:]
        hay = others[torch.randint(len(others), (room,), generator=generator)]
        share = float(torch.rand((), generator=generator)) if depth is None else depth
        place = round(share * room)
        opening = torch.tensor([] if first is None else [first], dtype=torch.long)
        rows.append(torch.cat([opening, hay[:place], run, hay[place:], run]))
        sources.append(torch.arange(front + place + cue, front + place + needle))
    tokens = torch.stack(rows)
    positions = torch.arange(length - needle + cue - 1, length - 1).expand(batch, -1).contiguous()
    return Task(
        name="hidden_segment",
        tokens=tokens.to(known.device),
        positions=positions.to(known.device),
        answers=tokens[:, length - needle + cue :].to(known.device),
        sources=torch.stack(sources).to(known.device),
        labels=torch.zeros_like(positions).to(known.device),
        label_names=("answer",),
    )
