"""Features that fire at the same tokens: how often, and how far beyond chance."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from workbench.saes.features.blocks import StoredCodes, Text
from workbench.saes.features.sorting import order_by, ragged, ranks

TABLE_NUMBERS = 2**28
"""Counts that are held at once, of 4 bytes: all pairs of 16,384 features."""
STRIPE_NUMBERS = 2**22
"""Counts that are added to at once, few enough to stay in the cache."""
GROUP_ACTIVE = 2**25
"""Activations that are paired at once."""
MEASURES = ("phi", "jaccard", "pmi")


def together(codes: StoredCodes, text: Text, features: range) -> Int[np.ndarray, "features d_sae"]:
    """Tokens at which each of some features fires together with each of all."""
    found = np.zeros((len(features), codes.features), dtype=np.int32)
    held: list[tuple[np.ndarray, np.ndarray]] = []
    for part in codes.shards(text):
        held.append(part)
        if sum(len(one[0]) for one in held) >= GROUP_ACTIVE:
            _count(held, found, features)
            held = []
    if held:
        _count(held, found, features)
    return found


def partner_columns(
    codes: StoredCodes, text: Text, counts: Int[np.ndarray, " d_sae"], features: range, best: int
) -> dict[str, Any]:
    """The table ``partners``: the features with the highest phi coefficient to each, of those that fire with it.

    With ``n`` tokens read, ``a`` and ``b`` at which either fires and ``c`` at which both do: ``count`` c; ``phi``
    ``(n c - a b) / sqrt(a b (n - a) (n - b))``, the correlation of firing; ``jaccard`` ``c / (a + b - c)``; ``pmi``
    ``ln(n c / (a b))``.
    """
    both = together(codes, text, features)
    every = counts.astype(np.float64)
    parts: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(features), 256):
        here = both[start : start + 256]
        local, other = np.nonzero(here)
        feature = local + features.start + start
        local, other, feature = (one[feature != other] for one in (local, other, feature))
        count = here[local, other].astype(np.float64)
        phi = _phi(count, every[feature], every[other], text.tokens)
        order = np.lexsort((-phi, local))
        rank = ranks(local[order], len(here))
        kept = order[rank < best]
        parts.append((feature[kept], rank[rank < best], other[kept], count[kept], phi[kept]))
    feature, rank, other, count, phi = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        jaccard = count / (every[feature] + every[other] - count)
        pmi = np.log(text.tokens * count / (every[feature] * every[other]))
    return {
        "feature": feature.astype(np.int32),
        "rank": rank.astype(np.int32),
        "other": other.astype(np.int32),
        "count": count.astype(np.int64),
        "phi": phi,
        "jaccard": jaccard,
        "pmi": pmi,
    }


def _phi(
    both: Float[np.ndarray, " pairs"], one: Float[np.ndarray, " pairs"], other: Float[np.ndarray, " pairs"], tokens: int
) -> Float[np.ndarray, " pairs"]:
    """0 where one of the two fires everywhere, which says nothing about the other."""
    spread = np.sqrt(one * other * (tokens - one) * (tokens - other))
    found: np.ndarray = np.divide(tokens * both - one * other, spread, out=np.zeros_like(both), where=spread > 0)
    return found


def _count(
    held: list[tuple[np.ndarray, np.ndarray]], found: Int[np.ndarray, "features d_sae"], features: range
) -> None:
    """Add the pairs of some shards to the table, some features at a time."""
    feature = np.concatenate([one[0] for one in held])
    token = np.concatenate([one[1] for one in held])
    base = int(token.min(initial=np.iinfo(np.int64).max)) if len(token) else 0
    token = token - base
    size = int(token.max(initial=-1)) + 1
    starts = np.concatenate([[0], np.cumsum(np.bincount(token, minlength=size))])
    present = feature[order_by(token)]
    by_feature = order_by(feature)
    feature, token = feature[by_feature], token[by_feature]
    width = found.shape[1]
    at_once = max(1, STRIPE_NUMBERS // width)
    for first in range(0, len(features), at_once):
        last = min(first + at_once, len(features))
        here = slice(*np.searchsorted(feature, [features.start + first, features.start + last]).tolist())
        for some in _portions(starts, token[here]):
            low, high = starts[token[here][some]], starts[token[here][some] + 1]
            local = np.repeat(feature[here][some].astype(np.int64) - features.start - first, high - low)
            pairs = np.bincount(local * width + present[ragged(low, high)], minlength=(last - first) * width)
            found[first:last] += pairs.reshape(last - first, width).astype(np.int32)


def _portions(starts: Int[np.ndarray, " _"], token: Int[np.ndarray, " some"]) -> list[slice]:
    """Slices of `token` whose pairs are few enough to be listed."""
    ends = np.cumsum(starts[token + 1] - starts[token])
    if not len(ends):
        return []
    cuts = np.searchsorted(ends, np.arange(GROUP_ACTIVE, int(ends[-1]), GROUP_ACTIVE)).tolist()
    edges = sorted({0, *cuts, len(token)})
    return [slice(low, high) for low, high in pairwise(edges)]
