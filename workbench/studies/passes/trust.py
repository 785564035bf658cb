"""What of the faster ways has been seen to agree with plain passes, and what has been switched off, and why."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from jaxtyping import Float
from torch import Tensor

CLOSE = 1e-5
"""Largest difference of logits, relative to the largest logit, in float32."""


def difference(logits: Float[Tensor, "scored vocabulary"], expected: Float[Tensor, "scored vocabulary"]) -> float:
    """The largest difference, relative to the largest finite number expected; infinite where only one is not finite."""
    if logits.shape != expected.shape:
        return float("inf")
    wide = torch.promote_types(expected.dtype, torch.float32)
    logits, expected = logits.to(wide), expected.to(wide)
    same = (logits == expected) | (logits.isnan() & expected.isnan())
    finite = expected.isfinite()
    scale = expected[finite].abs().max().clamp(min=1e-30) if bool(finite.any()) else torch.tensor(1.0)
    apart = torch.where(same, 0.0, (logits - expected).abs())
    found = float(apart.nan_to_num(nan=float("inf")).max() / scale)
    return found


def close(logits: Float[Tensor, "scored vocabulary"], expected: Float[Tensor, "scored vocabulary"]) -> bool:
    """Whether logits agree up to rounding: 1e-5 in float32, a few roundings in narrower types."""
    rounding = torch.finfo(expected.dtype).eps if expected.is_floating_point() else 0.0
    return difference(logits, expected) <= max(CLOSE, 4 * rounding)


class Trust:
    """Ways of running, by whatever key: not tried yet, seen to agree, or switched off with a reason."""

    def __init__(self) -> None:
        self._agreed: set[Hashable] = set()
        self._off: dict[Hashable, str] = {}

    @property
    def reasons(self) -> list[str]:
        """Why ways are switched off, in the order in which they were."""
        return list(dict.fromkeys(self._off.values()))

    def tried(self, key: Hashable) -> bool:
        """Whether it is known to agree."""
        return key in self._agreed

    def off(self, key: Hashable) -> bool:
        """Whether it is switched off."""
        return key in self._off

    def agree(self, key: Hashable) -> None:
        """Note that it agreed."""
        self._agreed.add(key)

    def switch_off(self, key: Hashable, reason: str) -> None:
        """Never try it again in this worker."""
        self._agreed.discard(key)
        self._off.setdefault(key, reason)
