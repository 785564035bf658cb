"""One implicit attention matrix as a heat map, whatever its length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.attention.implicit import ImplicitAttention

WIDEST = 512
"""Pixels of a side; a longer text is pooled, the largest entry of each block standing for it."""

ENTRIES_AT_ONCE = 2**24


def matrix_figure(
    attention: ImplicitAttention, head: int, tokens: Sequence[str] | None = None, batch: int = 0
) -> go.Figure:
    """Heat map of one matrix; see `ImplicitAttention.plot`.

    Raises:
        InputError: no such unit or sequence, or another number of tokens.
    """
    from workbench.figures import attention_map, pool_causal

    sequences, _, time, source = attention.shape
    if not 0 <= batch < sequences:
        raise InputError(f"There is no sequence {batch}: there are {sequences}, counted from 0.")
    labels = [str(place) for place in range(time)] if tokens is None else list(tokens)
    if len(labels) != time:
        raise InputError(f"There are {time} tokens and {len(labels)} texts of tokens.")
    height = max(1, ENTRIES_AT_ONCE // source)
    with torch.no_grad():
        blocks = [
            attention.dense(heads=[head], rows=slice(start, min(start + height, time)))[batch, 0].float().cpu().numpy()
            for start in range(0, time, height)
        ]
    pixels, factor = pool_causal(np.concatenate(blocks), WIDEST)
    return attention_map(pixels, labels, factor=factor)
