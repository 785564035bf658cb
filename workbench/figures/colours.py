"""The colours of the workbench, and the limits that go with them.

Blue and vermillion are those of Okabe and Ito (2008), distinct under the common colour-vision deficiencies.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Num

NEGATIVE = "#0072B2"
POSITIVE = "#D55E00"
MISSING = "#8F8F8F"
HATCH = "rgba(128,128,128,0.35)"

# Conditions of an experiment are not signs, so they stay clear of the two colours that mean a sign.
CONDITIONS = ("#7F7F7F", "#AA4499", "#44AA99", "#999933", "#88CCEE")

# Zero is transparent, so it is the page's own background, light or dark, and magnitude is opacity in either theme.
SIGNED: list[list[object]] = [
    [0.0, "rgba(0,114,178,1)"],
    [0.5, "rgba(0,114,178,0)"],
    [0.5, "rgba(213,94,0,0)"],
    [1.0, "rgba(213,94,0,1)"],
]
# Viridis (van der Walt and Smith, 2015), whose zero end fades into the page: yellow is turned towards a light page,
# purple towards a dark one.
_VIRIDIS = (
    "68,1,84",
    "71,44,122",
    "59,81,139",
    "44,113,142",
    "33,144,141",
    "39,173,129",
    "92,200,99",
    "170,220,50",
    "253,231,37",
)


def unsigned_scale(dark: bool) -> list[list[object]]:
    """Viridis from zero up, its first fifth fading in from the page."""
    stops = _VIRIDIS if dark else _VIRIDIS[::-1]
    last = len(stops) - 1
    return [[at / last, f"rgba({rgb},{min(1.0, 5 * at / last):.3g})"] for at, rgb in enumerate(stops)]


def is_signed(values: Num[np.ndarray, "*shape"]) -> bool:
    """Whether any value lies below zero by more than rounding."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return False
    return bool(finite.min() < -1e-6 * max(float(np.abs(finite).max()), 1e-30))


def signed_limit(values: Num[np.ndarray, "*shape"]) -> tuple[float, float]:
    """The symmetric colour limit for signed values and the share of values it clips.

    The limit is the 99.5th percentile of |v| over the values that are not exactly zero: a causal matrix is half zeros,
    and one outlier must not turn the rest of it white.

    Returns:
        (limit, share in 0..1 of the non-zero values that lie beyond it); (1.0, 0.0) when there is nothing to show.
    """
    sizes = np.abs(values[np.isfinite(values)])
    sizes = sizes[sizes > 0]
    if sizes.size == 0:
        return 1.0, 0.0
    limit = float(np.quantile(sizes, 0.995))
    return limit, float((sizes > limit).mean())


def unsigned_limit(values: Num[np.ndarray, "*shape"]) -> float:
    """The largest finite value, or 1 when there is none above zero."""
    finite = values[np.isfinite(values)]
    top = float(finite.max()) if finite.size else 0.0
    return top if top > 0 else 1.0
