"""Values as bytes that a palette colours: what the canvas in ``workbench/report/static/matrix.js`` draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from workbench.figures.colours import MISSING, SIGNED, is_signed, signed_limit, unsigned_limit, unsigned_scale

TOP = 252
"""The highest level. An even number, so that zero of a signed scale is exactly the level in the middle."""

MISSING_LEVEL, MASKED_LEVEL = 253, 254


@dataclass(frozen=True)
class Levels:
    """A matrix as bytes.

    Attributes:
        levels: 0 to `TOP`, linear from `low` to `high`; `MISSING_LEVEL` where there is no number, `MASKED_LEVEL` where
            there is no cell.
        low, high: the values of level 0 and of level `TOP`; what lies beyond has the level of the end.
        signed: whether the scale has two colours.
        missing: how many cells hold no number.
        clipped: the share, in 0..1, of the values that lie beyond the ends.
    """

    levels: UInt8[np.ndarray, "rows columns"]
    low: float
    high: float
    signed: bool
    missing: int
    clipped: float


def as_levels(
    values: Float[np.ndarray, "rows columns"],
    *,
    signed: bool | None = None,
    masked: Bool[np.ndarray, "rows columns"] | None = None,
    limit: float | None = None,
) -> Levels:
    """Quantise a matrix.

    Args:
        values: any range; what is not finite is missing.
        signed: two colours about zero, or one from zero up; None looks at the values.
        masked: cells that are none, such as the future of a causal matrix; hatched where they are drawn.
        limit: the value at the end of the scale, to share one between two pictures; None for this matrix' own.
    """
    masked = np.zeros(values.shape, dtype=bool) if masked is None else masked
    inside = np.where(masked, np.nan, values).astype(np.float64)
    finite = np.isfinite(inside)
    signed = is_signed(inside) if signed is None else signed
    if limit is None:
        limit = signed_limit(inside)[0] if signed else unsigned_limit(inside)
    low = -limit if signed else 0.0
    scaled = (np.where(finite, inside, low) - low) / (limit - low) * TOP
    levels = np.rint(np.clip(scaled, 0, TOP)).astype(np.uint8)
    levels[~finite] = MISSING_LEVEL
    levels[masked] = MASKED_LEVEL
    shown = finite & (inside != 0)
    beyond = float((np.abs(inside[shown]) > limit * (1 + 1e-6)).mean()) if shown.any() else 0.0
    return Levels(levels, low, limit, signed, int((~finite & ~masked).sum()), beyond)


def palette(signed: bool, dark: bool) -> UInt8[np.ndarray, "256 4"]:
    """Red, green, blue and opacity of every level, on a light page or a dark one."""
    stops = SIGNED if signed else unsigned_scale(dark)
    at = np.array([float(str(stop[0])) for stop in stops])
    colours = np.array([_rgba(str(stop[1])) for stop in stops])
    position = np.arange(TOP + 1) / TOP
    made = np.zeros((256, 4))
    for channel in range(4):
        made[: TOP + 1, channel] = np.interp(position, at, colours[:, channel])
    if signed:
        # The scale changes its hue in the middle, where it is invisible: interpolation must not mix the two.
        half = TOP // 2
        made[:half, :3], made[half : TOP + 1, :3] = colours[0, :3], colours[-1, :3]
    made[MISSING_LEVEL] = [*(int(MISSING[i : i + 2], 16) for i in (1, 3, 5)), 1.0]
    made[:, 3] *= 255
    return np.rint(made).astype(np.uint8)


def _rgba(text: str) -> list[float]:
    return [float(part) for part in text.removeprefix("rgba(").removesuffix(")").split(",")]
