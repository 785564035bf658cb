"""Large causal matrices reduced to pictures that keep what stands out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Num


def pool_causal(matrix: Num[np.ndarray, "query source"], side: int) -> tuple[Float[np.ndarray, "rows columns"], int]:
    """Reduce a matrix to at most `side` pixels a side.

    A pixel stands for ``factor x factor`` entries and holds the one that is largest in absolute value, with its sign,
    so that a single strong link between distant tokens stays visible where a mean would wash it out. Entries that are
    not numbers are ignored unless the whole pixel is made of them.

    Returns:
        (pixels, factor); factor is 1 when nothing had to be reduced.
    """
    factor = -(-max(matrix.shape) // side)
    return pool_blocks(matrix, max(1, factor)), max(1, factor)


def pool_blocks(matrix: Num[np.ndarray, "query source"], factor: int) -> Float[np.ndarray, "rows columns"]:
    """The same with a given factor: a few rows of a matrix that is never whole, where `factor` divides their number."""
    values = matrix.astype(np.float32)
    if factor == 1:
        return values
    rows, columns = (-(-length // factor) for length in values.shape)
    padded = np.full((rows * factor, columns * factor), np.nan, dtype=np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    blocks = padded.reshape(rows, factor, columns, factor).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    sizes = np.where(np.isnan(blocks), -1.0, np.abs(blocks))
    winner = sizes.argmax(axis=-1)[..., None]
    pooled: Float[np.ndarray, "rows columns"] = np.take_along_axis(blocks, winner, axis=-1)[..., 0]
    return pooled
