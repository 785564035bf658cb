"""How long something will take, in words."""

from __future__ import annotations


def about_seconds(seconds: float) -> str:
    """An estimate for a button: ``"about 40 s"``, ``"about 7 min"``, ``"about 2.5 hours"``."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} hours"
