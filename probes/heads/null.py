"""What a score would be if the defining position meant nothing: the same average at rival positions.

A rival moves the source of every defining pair by the same number of tokens and keeps the queries. Rivals are taken
from both sides and nearest first, so they match the defining distance: a head that reads whatever lies about 50 tokens
back, or one whose memory fades with distance, does as well at its rivals, and only a head that singles out the defining
token beats them. Nothing else has to be run.
"""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.heads.pairs import DefiningPairs


def rival_shifts(pairs: DefiningPairs, draws: int) -> list[int]:
    """The `draws` smallest shifts of the source that leave at least half of the pairs causal, smallest first.

    Positive shifts are later sources. There are fewer where the sequences are too short for more.

    Raises:
        InputError: `draws` is below 1, or no shift is possible.
    """
    check_draws(draws)
    found: list[int] = []
    for size in range(1, pairs.reach + 1):
        found += [shift for shift in (-size, size) if pairs.causal_share(shift) >= 0.5]
        if len(found) >= draws:
            return found[:draws]
    if not found:
        raise InputError("The sequences are too short for a null distribution; take a longer block.")
    return found


def check_draws(draws: int) -> None:
    """Refuse an empty null distribution. Raises InputError."""
    if draws < 1:
        raise InputError(f"null_draws is {draws}; at least one rival position is needed.")


def null_quantile(rivals: Float[Tensor, "draws rows"], level: float) -> Float[Tensor, " rows"]:
    """The rival score that a head must exceed for its `p_value` to be at most ``1 - level``.

    With 20 rivals and level 0.95 that is the highest one; so it is with fewer, where no p-value is that small.
    """
    may_be_higher = math.floor((1 - level) * (len(rivals) + 1) + 1e-9) - 1
    return rivals.sort(0, descending=True).values[max(may_be_higher, 0)]


def p_value(score: Float[Tensor, " rows"], rivals: Float[Tensor, "draws rows"]) -> Float[Tensor, " rows"]:
    """Rank of the score among its rivals, ``(1 + rivals at least as high) / (1 + rivals)``.

    It is never below ``1 / (1 + rivals)``: with 20 rivals, 0.048.
    """
    as_high: Int[Tensor, " rows"] = (rivals >= score).sum(0)
    return (1 + as_high).double() / (1 + len(rivals))
