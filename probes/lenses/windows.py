"""Text as rows of tokens of one length, to train and evaluate lenses on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.model import HookedModel


def text_windows(model: HookedModel, texts: str | Sequence[str], length: int = 128) -> Int[Tensor, "windows length"]:
    """Texts cut into rows of `length` tokens, in order; the rest of a text that fills no row is left out.

    Where the tokenizer has a beginning-of-text token, it is not put in front of rows: most begin in mid-text.

    Raises:
        InputError: no tokenizer, a length that the model does not have, or too little text for one row.
    """
    limit = model.cfg.n_ctx
    if length < 2 or (limit is not None and length > limit):
        raise InputError(
            f"length is {length}; rows have at least 2 tokens"
            + (f", and {model.cfg.model_name} takes at most {limit}." if limit is not None else ".")
        )
    rows = []
    for text in [texts] if isinstance(texts, str) else texts:
        if not text:
            continue
        tokens = model.tokens.encode(text, prepend_bos=False)[0][0]
        whole = len(tokens) // length
        rows.append(tokens[: whole * length].reshape(whole, length))
    windows = torch.cat(rows) if rows else torch.empty(0, length, dtype=torch.long)
    if not len(windows):
        raise InputError(f"The text is shorter than one row of {length} tokens.")
    return windows


def split_windows(
    windows: Int[Tensor, "windows length"], held_out: float = 0.1
) -> tuple[Int[Tensor, "train length"], Int[Tensor, "test length"]]:
    """Rows to train on, and the last rows to test on: neighbouring rows come from one text and must not be parted.

    Raises:
        InputError: a share outside 0..1, or one that leaves either part without rows.
    """
    if not 0 < held_out < 1:
        raise InputError(f"held_out is {held_out}; a share between 0 and 1 is needed, such as 0.1.")
    test = max(1, round(len(windows) * held_out))
    if test >= len(windows):
        raise InputError(f"{len(windows)} rows of tokens cannot be split into rows to train on and rows to test on.")
    return windows[:-test], windows[-test:]
