"""Text as rows of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.saes.streams.source import TextSource
from workbench.windows import text_windows

Source: TypeAlias = "Tensor | str | Path | TextSource | Iterable[str] | Iterable[Tensor]"
"""Rows of tokens ``[windows, time]``, rows of one length one after the other, texts or a path to some, which are cut
into rows, or a `TextSource`, of which the rows of full length are taken."""


def token_windows(
    model: HookedModel, source: Source, length: int = 128, count: int | None = None, *, bos: bool = False
) -> Int[Tensor, "windows length"]:
    """The rows of tokens that a source stands for.

    Args:
        length, bos: of rows cut from texts; see `workbench.windows.text_windows`.
        count: at most so many rows, the first ones.

    Raises:
        InputError: rows of several lengths, no rows, tokens that the model does not take, too little text.
    """
    if isinstance(source, Path):
        source = TextSource(source, length, bos=bos, seed=None)
    if isinstance(source, TextSource):
        source = _full(source, model)
    if isinstance(source, Tensor):
        rows = source
    elif isinstance(source, str):
        rows = text_windows(model, source, length, bos=bos)
    else:
        listed = _taken(source, count)
        if not listed:
            raise InputError("The source holds nothing: at least one text, or one row of tokens, is needed.")
        if isinstance(listed[0], str):
            rows = text_windows(model, [str(one) for one in listed], length, bos=bos)
        else:
            parts = [torch.as_tensor(one).reshape(-1, torch.as_tensor(one).shape[-1]) for one in listed]
            lengths = {part.shape[1] for part in parts}
            if len(lengths) > 1:
                raise InputError(f"Rows of tokens have one length; these have {min(lengths)} to {max(lengths)}.")
            rows = torch.cat(parts)
    rows = rows[:count]
    model.tokens.checked(rows, None)
    return rows.long().cpu()


def _full(source: TextSource, model: HookedModel) -> Iterator[Tensor]:
    """A source's rows, without what is shorter than the rest."""
    for batch in source.batches(model):
        full = batch.tokens[batch.lengths == source.length]
        if len(full):
            yield full


def _taken(source: Iterable[str] | Iterable[Tensor], count: int | None) -> list[str | Tensor]:
    """A source's items; of rows of tokens, which may never end, no more than are needed."""
    found: list[str | Tensor] = []
    rows = 0
    for one in source:
        found.append(one)
        if not isinstance(one, str):
            rows += 1 if one.dim() == 1 else len(one)
            if count is not None and rows >= count:
                break
    return found
