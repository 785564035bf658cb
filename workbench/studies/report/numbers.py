"""Numbers as text: as many digits as they deserve."""

from __future__ import annotations

import math

NONE = "–"
"""In the place of a number that there is not."""


def number(value: float) -> str:
    """Three significant digits; `NONE` for NaN."""
    if not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-3 <= size < 1e4:
        return f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}"
    return f"{value:.2e}"


def signed(value: float) -> str:
    """`number` with its sign."""
    text = number(value)
    return f"+{text}" if value > 0 and text != NONE else text


def span(low: float, high: float) -> str:
    """An interval, "0.12 to 0.53"; `NONE` without one."""
    return NONE if math.isnan(low) or math.isnan(high) else f"{number(low)} to {number(high)}"


def with_span(value: float, low: float, high: float) -> str:
    """A signed number with its interval, where it has one."""
    return signed(value) + ("" if math.isnan(low) or math.isnan(high) else f" ({span(low, high)})")


def probability(value: float) -> str:
    """A p or q value; `NONE` for NaN."""
    if math.isnan(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(share: float) -> str:
    """A level: "95 %"."""
    return f"{100 * share:g} %"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A count with its noun: "1 edit", "3 edits", "1,200 edits"."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def listed(words: list[str], most: int = 6) -> str:
    """Words in a row: "a, b and c"; of many, the first ones and how many more."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"
