"""The share of a difference that an edit leaves: a ratio of means, not a mean of ratios."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from workbench.studies.statistics.resampling import FEWEST, intervals


class Ratios(NamedTuple):
    """Ratios and their confidence limits; NaN where undefined."""

    ratio: Float[np.ndarray, " edits"]
    low: Float[np.ndarray, " edits"]
    high: Float[np.ndarray, " edits"]


def ratios_of_means(
    edited: Float[np.ndarray, "edits groups"],
    clean: Float[np.ndarray, "edits groups"],
    corrupt: Float[np.ndarray, "edits groups"],
    counts: Float[np.ndarray, "resamples groups"],
    level: float = 0.95,
) -> Ratios:
    """What an edit leaves of the difference between clean and corrupt prompts, of means.

    (mean edited - mean corrupt) / (mean clean - mean corrupt): 1 where an edit changes nothing, 0 where it is as bad as
    the corrupt prompt.
    A mean of ratios would let the prompts that hardly differ from their corrupt versions decide. Numerator and
    denominator are resampled together; limits are percentiles of the resampled ratios.

    Args:
        edited, clean, corrupt: the metric of the edited run, of the unedited one, and of the unedited one on the
            corrupt prompt; a group where any of them is NaN is left out.
        counts: from `draw_counts`.

    Returns:
        NaN for edits with fewer than four groups, or whose denominator's own interval covers 0: what is left of
        nothing is not a number.
    """
    there = np.isfinite(edited) & np.isfinite(clean) & np.isfinite(corrupt)
    above = np.where(there, edited - corrupt, 0.0)
    below = np.where(there, clean - corrupt, 0.0)
    denominator = intervals(np.where(there, below, np.nan), counts, level)
    defined = (there.sum(1) >= FEWEST) & ((denominator.low > 0) | (denominator.high < 0))
    tail = (1 - level) / 2
    ratio, low, high = (np.full(len(edited), np.nan) for _ in range(3))
    for row in np.flatnonzero(defined):
        ratio[row] = above[row].sum() / below[row].sum()
        drawn = counts[:, there[row]]
        with np.errstate(invalid="ignore", divide="ignore"):
            resampled = (drawn @ above[row, there[row]]) / (drawn @ below[row, there[row]])
        low[row], high[row] = np.quantile(resampled[np.isfinite(resampled)], [tail, 1 - tail])
    return Ratios(ratio, low, high)
