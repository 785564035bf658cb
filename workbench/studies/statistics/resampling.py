"""Bootstrap intervals of many means at once, every mean from the same resamples.

What is resampled is the prompt group. Edits of one model share the draws, so that their means, differences and ratios
may be compared draw by draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

IntervalKind: TypeAlias = Literal["bootstrap-t", "percentile"]

FEWEST = 4
"""Groups: of fewer, resamples repeat a single group too often for any limit to mean something."""

EXPLORATORY = 50
"""Groups: what is found with fewer is called exploratory."""

_ROWS_AT_ONCE = 256  # 10,000 resamples of 256 means are 20 MB in float64, and a handful of such arrays is alive at once
# Resamples whose spread is rounding, relative to the sample's variance, hold one value over and over.
_NO_SPREAD = 1e-12


@dataclass(frozen=True)
class Intervals:
    """Confidence limits of several means.

    Attributes:
        low, high: NaN where there were fewer than `FEWEST` groups.
        kinds: how each was made: the kind asked for; ``"percentile"`` where the bootstrap-t limits were not finite;
            ``""`` where there are none.
    """

    low: Float[np.ndarray, " means"]
    high: Float[np.ndarray, " means"]
    kinds: list[str]


@lru_cache(maxsize=8)
def draw_counts(groups: int, resamples: int, seed: int) -> Float[np.ndarray, "resamples groups"]:
    """How often each group is drawn in each resample: rows sum to the number of groups. The seed reproduces them."""
    if not groups:
        return np.zeros((resamples, 0))
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float64)
    counts.setflags(write=False)  # it is kept, and shared by whoever asks for the same draws
    return counts


def resampled_means(
    values: Float[np.ndarray, "means groups"], counts: Float[np.ndarray, "resamples groups"]
) -> Float[np.ndarray, "resamples means"]:
    """Mean of each row in each resample over the groups that it has; NaN in a resample without any of them."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Float[np.ndarray, "resamples means"] = (counts @ np.where(there, values, 0.0).T) / (
            counts @ there.T.astype(np.float64)
        )
    return means


def intervals(
    values: Float[np.ndarray, "means groups"],
    counts: Float[np.ndarray, "resamples groups"],
    level: float = 0.95,
    kind: IntervalKind = "bootstrap-t",
) -> Intervals:
    """Intervals of the mean of each row over the groups that it has.

    Percentile: quantiles of the resampled means (Efron and Tibshirani 1993, section 13.3). Bootstrap-t: quantiles of
    the resampled means' t statistics, turned round (section 12.5); on skewed effects it covers what it says with fewer
    groups. Where many groups have exactly the same effect (an accuracy that seldom changes), resamples without spread
    make its limits infinite; the percentile limits stand in there, and `Intervals.kinds` says so.

    Args:
        values: one number a group, NaN where it was not measured: such groups are left out of their row's mean in every
            resample.
        counts: from `draw_counts`.
        level: coverage, between 0 and 1.
    """
    rows = len(values)
    low, high = np.full(rows, np.nan), np.full(rows, np.nan)
    kinds = [""] * rows
    tail = (1 - level) / 2
    for start in range(0, rows, _ROWS_AT_ONCE):
        part = slice(start, min(rows, start + _ROWS_AT_ONCE))
        there = np.isfinite(values[part])
        enough = there.sum(1) >= FEWEST
        if not enough.any():
            continue
        chosen = np.flatnonzero(enough) + start
        found = _limits(values[chosen], there[enough], counts, tail, kind)
        low[chosen], high[chosen], studentized = found
        for row, good in zip(chosen, studentized, strict=True):
            kinds[row] = "bootstrap-t" if good else "percentile"
    return Intervals(low, high, kinds)


def _limits(
    values: Float[np.ndarray, "means groups"],
    there: Bool[np.ndarray, "means groups"],
    counts: Float[np.ndarray, "resamples groups"],
    tail: float,
    kind: IntervalKind,
) -> tuple[Float[np.ndarray, " means"], Float[np.ndarray, " means"], Bool[np.ndarray, " means"]]:
    number = there.sum(1)
    filled = np.where(there, values, 0.0)
    mean = filled.sum(1) / number
    centred = np.where(there, values - mean[:, None], 0.0)
    drawn = counts.sum(1)[:, None] if there.all() else counts @ there.T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A resample without a single group of a row has no mean: NaN, and left out of that row's quantiles.
        shift = (counts @ centred.T) / drawn
        low, high = _quantiles(shift, tail) + mean
        if kind == "percentile":
            return low, high, np.zeros(len(values), dtype=bool)
        spread = (counts @ np.square(centred).T) / drawn - np.square(shift)
        variance = np.square(centred).sum(1) / number
        flat = variance <= np.square(_NO_SPREAD * np.abs(mean))
        spread = np.where(spread <= _NO_SPREAD * variance, 0.0, spread)
        error = np.sqrt(variance / (number - 1))
        t = shift / np.sqrt(spread / np.maximum(drawn - 1, 1.0))
        lowest, highest = _quantiles(t, tail)
        studentized = np.isfinite(lowest) & np.isfinite(highest)
        low = np.where(studentized, mean - highest * error, low)
        high = np.where(studentized, mean - lowest * error, high)
    return np.where(flat, mean, low), np.where(flat, mean, high), studentized | flat


def _quantiles(resampled: Float[np.ndarray, "resamples means"], tail: float) -> Float[np.ndarray, "2 means"]:
    """Lower and upper quantile of each column, by the order statistic: between infinities there is nothing to draw."""
    missing = np.isnan(resampled)
    count = (~missing).sum(0)
    ordered = np.sort(np.where(missing, np.inf, resampled).T, axis=1)
    # Rounded first: 0.05 is a little less than a twentieth, and the two limits are to be as far from their ends.
    below = np.minimum(np.floor(np.round(tail * count, 6)).astype(int), np.maximum(count - 1, 0))
    above = np.maximum(count - 1 - below, 0)
    rows = np.arange(len(ordered))
    return np.stack([ordered[rows, below], ordered[rows, above]])
