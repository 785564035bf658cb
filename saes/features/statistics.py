"""How often and how strongly features fire: exact, of all tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from workbench.saes.features.blocks import Block, Text
from workbench.saes.features.pieces import Pieces
from workbench.saes.features.sorting import ranks

QUANTILES = (5, 25, 50, 75, 95, 99)
"""Of the activations that are not zero, in percent."""


def feature_columns(block: Block, text: Text) -> dict[str, Any]:
    """The table ``features``: one row a feature, dead ones, too.

    ``density`` (share of the tokens read), ``count`` (tokens at which it fires), ``rows`` (rows in which it does),
    ``max``, ``mean`` and ``q05`` ... ``q99`` (of the activations that are not zero; NaN of a dead feature), ``dead``.
    """
    counts, fires = block.counts, block.counts > 0
    change = np.ones(len(block.value), dtype=bool)
    change[1:] = (np.diff(block.place // text.stride) != 0) | (np.diff(block.feature) != 0)
    sums, squares = feature_sums(block)
    ordered = sorted_values(block)
    columns: dict[str, Any] = {
        "feature": block.features,
        "density": counts / max(1, text.tokens),
        "count": counts,
        "rows": np.bincount(block.feature[change], minlength=block.count),
        "max": largest(block),
        "mean": np.divide(sums, counts, out=np.full(block.count, np.nan), where=fires),
    }
    for percent in QUANTILES:
        columns[f"q{percent:02d}"] = _quantile(ordered, block, percent / 100)
    return columns | {"dead": ~fires, "sum": sums, "sum_squares": squares}


def histogram_columns(block: Block, bins: int) -> dict[str, Any]:
    """The table ``histograms``: how many activations that are not zero lie in each of `bins` parts of 0 to ``max``."""
    import pyarrow as pa

    top = largest(block)
    share = block.value / top[block.feature] if len(block.value) else block.value
    at = np.minimum((share * bins).astype(np.int64), bins - 1)
    counts = np.bincount(block.feature * bins + at, minlength=block.count * bins)
    offsets = np.arange(block.count + 1, dtype=np.int32) * bins
    return {
        "feature": block.features,
        "max": top,
        "counts": pa.ListArray.from_arrays(offsets, counts.astype(np.int64)),
    }


def token_columns(
    block: Block, text: Text, occurrences: Int[np.ndarray, " vocabulary"], best: int, pieces: Pieces
) -> dict[str, Any]:
    """The table ``top_tokens``: the tokens on which a feature's activations add up to most.

    ``count`` (occurrences at which it fires), ``share`` (of all that token's occurrences), ``mean`` and ``max``
    (activation where it fires), ``rank``.
    """
    token = text.ids[text.flat(block.place)].astype(np.int64)
    key = block.feature * np.int64(len(occurrences)) + token
    order = np.argsort(key, kind="stable")
    key, value = key[order], block.value[order]
    heads = np.flatnonzero(np.diff(key, prepend=-1))
    if not len(heads):
        heads = np.empty(0, dtype=np.int64)
    feature, name = np.divmod(key[heads], len(occurrences))
    sums = np.add.reduceat(value, heads, dtype=np.float64) if len(heads) else np.empty(0)
    highest = np.maximum.reduceat(value, heads) if len(heads) else value
    count = np.diff(np.append(heads, len(key)))
    order = np.lexsort((-sums, feature))
    rank = ranks(feature[order], block.count)
    kept = order[rank < best]
    return {
        "feature": (feature[kept] + block.first).astype(np.int32),
        "rank": rank[rank < best].astype(np.int32),
        "token_id": name[kept].astype(np.int32),
        "token": pieces.column(name[kept]),
        "count": count[kept],
        "share": count[kept] / occurrences[name[kept]],
        "mean": sums[kept] / count[kept],
        "max": highest[kept],
    }


def feature_sums(block: Block) -> tuple[Float[np.ndarray, " features"], Float[np.ndarray, " features"]]:
    """Sums of activations and of their squares, in float64."""
    wide = block.value.astype(np.float64)
    return (
        np.bincount(block.feature, weights=wide, minlength=block.count),
        np.bincount(block.feature, weights=wide**2, minlength=block.count),
    )


def largest(block: Block) -> Float[np.ndarray, " features"]:
    """Each feature's largest activation; 0 of a dead one."""
    found = np.zeros(block.count, dtype=np.float32)
    fires = block.counts > 0
    if fires.any():
        found[fires] = np.maximum.reduceat(block.value, block.starts[:-1][fires])
    return found


def sorted_values(block: Block) -> Float[np.ndarray, " active"]:
    """The activations in rising order within each feature."""
    # Positive floats are in the order of their bits, so one sort of whole numbers does it.
    bits = np.ascontiguousarray(block.value, dtype=np.float32).view(np.uint32)
    keys = (block.feature.astype(np.int64) << 32) | bits
    keys.sort()
    return (keys & 0xFFFFFFFF).astype(np.uint32).view(np.float32)


def _quantile(ordered: Float[np.ndarray, " active"], block: Block, share: float) -> Float[np.ndarray, " features"]:
    """Linear between the two nearest order statistics (definition 7 of Hyndman and Fan 1996, numpy's default)."""
    counts = block.counts
    found = np.full(block.count, np.nan)
    fires = counts > 0
    at = share * (counts[fires] - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, counts[fires] - 1)
    start = block.starts[:-1][fires]
    below, above = ordered[start + low].astype(np.float64), ordered[start + high].astype(np.float64)
    found[fires] = below + (above - below) * (at - low)
    return found
