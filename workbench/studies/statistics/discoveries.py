"""Many tests at once: how many of what is called found may be chance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def benjamini_hochberg(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Adjusted p values (q values): reporting those up to q keeps the false discovery rate at q.

    Benjamini and Hochberg 1995, procedure (1), for independent or positively dependent tests.

    Args:
        p: NaN for what was not tested; it is not counted among the tests either.

    Returns:
        NaN where `p` is.
    """
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted
