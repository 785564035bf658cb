"""What one entry does: the source's value through the head into the residual stream, and from there into the logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.app.views.attention.choosing import HeadChoice
from workbench.app.views.attention.reading import Reading, checked_head, output_rows, stream_cache
from workbench.errors import InputError
from workbench.model import HookedModel

SHOWN = 8
"""Tokens listed at each end."""


@dataclass(frozen=True)
class ValuePath:
    """What one source writes at one destination through one head.

    Attributes:
        weight: the entry.
        share: its size as a share of its row's.
        norm: of what it writes into the residual stream.
        stream: norm of the stream that the final norm reads there, to compare with.
        up, down: tokens whose logits it raises and lowers most, and by how much, less the mean over the vocabulary.
    """

    weight: float
    share: float
    norm: float
    stream: float
    up: tuple[tuple[str, float], ...]
    down: tuple[tuple[str, float], ...]


@torch.no_grad()
def value_path(
    model: HookedModel,
    reading: Reading,
    stream: Float[Tensor, "batch time d_model"],
    choice: HeadChoice,
    row: int,
    column: int,
) -> ValuePath:
    """Follow one entry to the logits at its destination, along the direct path.

    Args:
        stream: the residual stream that the final norm reads (`read_stream`).

    Raises:
        InputError: a source after its destination, or no such head.
    """
    if column > row:
        raise InputError(f"Token {column} comes after token {row}, which cannot read it.")
    attention = checked_head(reading, choice)
    entries = attention.dense(heads=choice.head, rows=[row])[0, 0, 0]
    vector = attention.written([row], [column], choice.head)[0, 0] @ output_rows(model, choice, attention)
    cache = stream_cache(model, stream)
    effect = cache.vocabulary_attrs(vector[None, None, None], pos_slice=slice(row, row + 1))[0, 0, 0]
    effect = effect - effect.mean()
    order = effect.argsort(descending=True).tolist()
    named = [
        (model.to_str_tokens(torch.tensor([at]))[0], float(effect[at])) for at in [*order[:SHOWN], *order[-SHOWN:]]
    ]
    return ValuePath(
        weight=float(entries[column]),
        share=float(entries[column].abs() / entries.abs().sum()),
        norm=float(vector.norm()),
        stream=float(stream[0, row].norm()),
        up=tuple(named[:SHOWN]),
        down=tuple(reversed(named[SHOWN:])),
    )
