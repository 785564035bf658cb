"""What one entry does: the source's value through the head into the residual stream, and from there into the logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.app.views.attention.choosing import HeadChoice
from workbench.app.views.attention.head import output_rows
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
def value_path(model: HookedModel, prompt: str, choice: HeadChoice, row: int, column: int) -> ValuePath:
    """Follow one entry to the logits at its destination, along the direct path.

    Raises:
        InputError: a source after its destination, or no such layer, mixer or head.
    """
    if column > row:
        raise InputError(f"Token {column} comes after token {row}, which cannot read it.")
    tokens = model.to_tokens(prompt)
    attention = model.implicit_attention(tokens, choice.layer, scope=choice.scope, mixer=choice.mixer)
    entries = attention.dense(heads=choice.head, rows=[row])[0, 0, 0]
    vector = attention.written([row], [column], choice.head)[0, 0] @ output_rows(model, choice, attention)
    last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    _, cache = model.run_with_cache(tokens, names_filter=[last])
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
        stream=float(cache[last][0, row].norm()),
        up=tuple(named[:SHOWN]),
        down=tuple(reversed(named[SHOWN:])),
    )
