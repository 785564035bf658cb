"""What defines a kind of head: where it reads on a block of random tokens repeated. Each kind is a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError, nearest
from workbench.tasks import RepeatedTokens


@dataclass(frozen=True)
class DefiningPairs:
    """Places of the implicit attention matrix that define a kind of head, the same in every sequence of the batch.

    Attributes:
        query: destinations.
        key: the source that a perfect head of this kind reads at each destination.
    """

    query: Int[Tensor, " pairs"]
    key: Int[Tensor, " pairs"]


PairsOf: TypeAlias = Callable[[RepeatedTokens], DefiningPairs]


@dataclass(frozen=True)
class HeadKind:
    """A kind of head.

    Attributes:
        name: what `find_heads` calls it.
        pairs: its defining pairs on a given task.
        reads: one line that says what such a head reads, for tables and reports.
        source: the publication whose definition this is.
    """

    name: str
    pairs: PairsOf
    reads: str
    source: str


_KINDS: dict[str, HeadKind] = {}


def register_kind(name: str, *, reads: str, source: str) -> Callable[[PairsOf], PairsOf]:
    """Decorator: a function from the task to the defining pairs becomes a kind of head.

    Raises:
        ValueError: another function has that name.
    """

    def add(pairs: PairsOf) -> PairsOf:
        taken = _KINDS.get(name)
        if taken is not None and taken.pairs is not pairs:
            raise ValueError(f"The head kind {name!r} belongs to {taken.pairs.__module__} already.")
        _KINDS[name] = HeadKind(name, pairs, reads, source)
        return pairs

    return add


def kinds() -> list[str]:
    """Names of the kinds of head that can be looked for, sorted."""
    return sorted(_KINDS)


def get_kind(name: str) -> HeadKind:
    """The kind called `name`.

    Raises:
        InputError: there is none; the message lists the nearest ones.
    """
    if name not in _KINDS:
        close = ", ".join(nearest(name, _KINDS) or kinds())
        raise InputError(f"No kind of head is called {name!r}; there is: {close}.")
    return _KINDS[name]
