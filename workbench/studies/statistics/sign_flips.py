"""Paired tests: were the signs of an edit's effects on the prompt groups a coin's?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

ENOUGH_HITS = 100
"""An edit that so many of the first draws exceed is not followed any further: its p is above what could be found."""

_AT_ONCE = 2048  # draws times edits times 8 bytes: 32 MB for 2,000 edits
# Sums of the same numbers in another order: what is a tie in exact arithmetic counts as one.
_ROUNDING = 1e-12


def sign_flip_p(
    values: Float[np.ndarray, "edits groups"], *, resamples: int = 10_000, q: float = 0.05, seed: int = 0
) -> Float[np.ndarray, " edits"]:
    """Two-sided p of each edit's mean effect under random signs of its groups (Fisher's randomisation test).

    The hypothesis is that an effect and its opposite were equally likely in every group. Of few groups (at most
    `resamples` patterns of signs) every pattern is counted, and p is their exact share. Else p is
    (hits + 1) / (draws + 1) with max(`resamples`, 4 edits / q) draws, so that one edit among many can pass the
    procedure of Benjamini and Hochberg; edits with 100 hits in the first `resamples` draws stop there, which leaves p
    valid (a smaller p could have come of all the draws, never a larger chance of a small one) and saves nearly all the
    work. All edits see the same signs.

    Args:
        values: effects, NaN where a group was not measured.
        q: the false discovery rate that p is meant for.

    Returns:
        NaN for an edit without any group.
    """
    edits, groups = values.shape
    measured = np.isfinite(values).any(1)
    filled = np.where(np.isfinite(values), values, 0.0)  # a zero's sign changes nothing
    sizes = np.abs(filled.sum(1))
    limits = sizes - _ROUNDING * np.abs(filled).sum(1)
    p = np.full(edits, np.nan)
    if not measured.any():
        return p
    if groups < 31 and 2**groups <= resamples:
        hits = _hits(_every_pattern(groups), filled[measured], limits[measured])
        p[measured] = hits / 2**groups
        return p
    generator = np.random.default_rng(seed)
    draws = max(resamples, int(np.ceil(4 * edits / q)))
    alive = np.flatnonzero(measured)
    hits = np.zeros(edits, dtype=np.int64)
    done = 0
    while done < draws and len(alive):
        count = min(_AT_ONCE, (resamples if done < resamples else draws) - done)
        signs = generator.integers(0, 2, size=(count, groups), dtype=np.int8).astype(np.float64) * 2 - 1
        hits[alive] += _hits(signs, filled[alive], limits[alive])
        done += count
        p[alive] = (hits[alive] + 1) / (done + 1)
        if done == resamples:
            alive = alive[hits[alive] < ENOUGH_HITS]
    return p


def _hits(
    signs: Float[np.ndarray, "draws groups"],
    values: Float[np.ndarray, "edits groups"],
    limits: Float[np.ndarray, " edits"],
) -> Int[np.ndarray, " edits"]:
    """How many draws have a mean at least as large."""
    total = np.zeros(len(values), dtype=np.int64)
    for start in range(0, len(signs), _AT_ONCE):
        total += (np.abs(signs[start : start + _AT_ONCE] @ values.T) >= limits).sum(0)
    return total


def _every_pattern(groups: int) -> Float[np.ndarray, "patterns groups"]:
    numbers = np.arange(2**groups)
    return ((numbers[:, None] >> np.arange(groups)) & 1).astype(np.float64) * 2 - 1
