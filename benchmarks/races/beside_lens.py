"""What races of a whole softmax model against TransformerLens have alike: two sides, an oracle, memory too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from benchmarks.race import Contestant, Race

OURS = "workbench"

Call: TypeAlias = Callable[[], Any]
Side: TypeAlias = tuple[str, Callable[[], Call]]
"""What exactly runs, in words, and what builds it."""


def beside_lens(
    name: str,
    title: str,
    shapes: str,
    *,
    ours: Side,
    theirs: Side,
    peer: str,
    oracle: Call,
    error_against: str,
    notes: str,
) -> Race:
    """Our call, and the peer's parts that do the same job, on one sequence.

    Args:
        peer: what the other side is called.
        oracle, error_against: as in `Race`.
    """
    return Race(
        name=name,
        title=title,
        shapes=shapes,
        contestants=(Contestant(OURS, *ours), Contestant(peer, *theirs)),
        budget=30.0,
        warm_up=1,
        oracle=oracle,
        error_against=error_against,
        notes=notes,
        memory=True,
    )
