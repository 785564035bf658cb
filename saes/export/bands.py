"""The bands of examples: in which order they are shown, and what to call them."""

from __future__ import annotations

import re

_RANKS = re.compile(r"(\d+)-(\d+)%")


def is_of_ranks(band: str) -> bool:
    """Whether a band is one of ranks, such as ``75-100%``."""
    return _RANKS.fullmatch(band) is not None


def band_order(band: str) -> int:
    """Where a band comes: the strongest first, then those of ranks from high to low, at random, silent."""
    found = _RANKS.fullmatch(band)
    if found is not None:
        return 100 - int(found[2]) + 1
    return {"top": 0, "random": 201, "silent": 202}.get(band, 203)


def band_words(band: str) -> str:
    """What a reader is told that a band is."""
    found = _RANKS.fullmatch(band)
    if found is not None:
        return f"ranks {found[1]} to {found[2]} % of the texts in which it fires, the strongest at 100 %"
    told = {"top": "the strongest", "random": "texts at random", "silent": "texts in which it does not fire"}
    return told.get(band, band)
