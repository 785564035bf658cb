"""A line over whole numbers, pointed at or walked along by keys: lighter than a plot where there is nothing to zoom."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.app.components.mounting import declare, mount

LOGARITHMIC = 256
"""More values than this stand on a logarithmic axis."""

DIGITS = 4
"""Significant digits of the values that are sent."""


def curve(
    values: Float[np.ndarray, " places"], *, key: str, fingerprint: str, title: str, across: str, name: str, unit: str
) -> None:
    """Draw the line; nothing in it is chosen.

    Args:
        values: at 0, 1, 2, ...; NaN leaves a gap out.
        key: of the component.
        fingerprint: of what is shown.
        title: of the values: ``"mean weight"``.
        across: of the whole numbers, with their unit: ``"distance (tokens)"``.
        name: of a value, read out.
        unit: stands behind a whole number that is read out: ``"back"``.
    """
    sent = [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values.tolist()]
    data = {
        "values": sent,
        "log": len(sent) > LOGARITHMIC,
        "title": title,
        "across": across,
        "name": name,
        "unit": unit,
        "resting": "Point at the line to read it out; the arrow keys move along it.",
        "fingerprint": fingerprint,
    }
    mount(_component(), data, key=key, fingerprint=fingerprint, shape=(len(sent),), keep=None)


@lru_cache(maxsize=1)
def _component() -> Any:
    return declare("curve", ())
