"""What a kind of head is: how heads are scored for it, and the task that a model does worse without them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from workbench.errors import InputError, offer
from workbench.tasks import Task, repeated_random_tokens


@dataclass(frozen=True)
class CausalTask:
    """The task on which the loss of a kind's heads should show.

    Attributes:
        make: generator ``make(model, *, batch, seed, **options)``.
        measure: of `TaskScores`, the one that decides.
        label: the kind of position that decides; None for all of them together.
    """

    make: Callable[..., Task] = repeated_random_tokens
    measure: str = "loss"
    label: str | None = "second"

    @property
    def decisive(self) -> str:
        """The column of `ablate_top_k` that decides: ``"loss_second"``."""
        return self.measure if self.label is None else f"{self.measure}_{self.label}"


@dataclass(frozen=True)
class HeadKind:
    """A kind of head.

    Attributes:
        name: what `find_heads` calls it.
        does: what such heads do, in words that go on after "Such heads".
        source: the publication whose definition this is.
        find: scores all heads of a model.
        check: what is measured when they are ablated.
    """

    name: str
    does: str
    source: str
    find: Callable[..., pd.DataFrame]
    check: CausalTask = field(default_factory=CausalTask)


_KINDS: dict[str, HeadKind] = {}
_FAMILIES: dict[str, Callable[[int], HeadKind]] = {}


def add_kind(kind: HeadKind) -> HeadKind:
    """Let `find_heads` look for a kind of head.

    Raises:
        ValueError: another kind has that name.
    """
    taken = _KINDS.get(kind.name)
    if taken is not None and taken != kind:
        raise ValueError(f"The head kind {kind.name!r} belongs to {taken.source!r} already.")
    _KINDS[kind.name] = kind
    return kind


def add_numbered_kind(suffix: str, make: Callable[[int], HeadKind], listed: tuple[int, ...]) -> None:
    """Let `find_heads` look for a kind for every number: ``"3-gram"`` is ``make(3)``; `listed` are shown in lists."""
    _FAMILIES[suffix] = make
    for number in listed:
        add_kind(make(number))


def kinds() -> list[str]:
    """Names of the kinds of head that can be looked for, sorted."""
    return sorted(_KINDS)


def get_kind(name: str) -> HeadKind:
    """The kind called `name`.

    Raises:
        InputError: there is none; the message lists the nearest ones.
    """
    if name in _KINDS:
        return _KINDS[name]
    numbered = re.fullmatch(r"(\d+)-(\w+)", name)
    if numbered is not None and numbered[2] in _FAMILIES:
        return _FAMILIES[numbered[2]](int(numbered[1]))
    raise InputError(f"No kind of head is called {name!r}; {offer(name, kinds())}.")


def check_options(function: Callable[..., Any], options: Mapping[str, Any], what: str) -> None:
    """Refuse options that a function does not take behind its first argument. Raises InputError, naming others."""
    taken = list(inspect.signature(function).parameters)[1:]
    unknown = [name for name in options if name not in taken]
    if unknown:
        raise InputError(f"{what} has no option {unknown[0]!r}; {offer(unknown[0], taken)}.")
