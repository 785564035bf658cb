"""What a replication is: a published result, the command that asks the same question here, and what to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from workbench.errors import InputError, nearest

Section: TypeAlias = Literal["Reading a model", "Finding heads", "Changing a model", "Features"]
SECTIONS: tuple[Section, ...] = get_args(Section)


@dataclass(frozen=True)
class Outcome:
    """What came out.

    Attributes:
        found: one or two sentences with the numbers that matter.
        agrees: whether the shape of the published result shows here, by a rule written before the run; None where the
            paper has no such shape for models of this size.
        numbers: what the sentence is made of, by name.
    """

    found: str
    agrees: bool | None
    numbers: dict[str, float] = field(default_factory=dict)


Run: TypeAlias = Callable[[], Outcome]


@dataclass(frozen=True)
class Replication:
    """One row of the table.

    Attributes:
        name: short, in kebab case.
        section: part of the table.
        paper: title, and who and when.
        published: the shape of the published result, in one line.
        ask: the code or the command that asks it here, as a user would write it.
        run: asks it, and judges; None where it cannot run here.
        missing: what is missing where it cannot run.
    """

    name: str
    section: Section
    paper: str
    published: str
    ask: str
    run: Run | None = None
    missing: str = ""


_ROWS: dict[str, Replication] = {}


def replication(name: str, *, section: Section, paper: str, published: str, ask: str) -> Callable[[Run], Run]:
    """Decorator: a function that runs and judges becomes a row.

    Raises:
        ValueError: another row has that name.
    """

    def add(run: Run) -> Run:
        _add(Replication(name, section, paper, published, ask, run))
        return run

    return add


def cannot_run(name: str, *, section: Section, paper: str, published: str, ask: str, missing: str) -> None:
    """A row that says what is missing.

    Raises:
        ValueError: another row has that name.
    """
    _add(Replication(name, section, paper, published, ask, None, missing))


def _add(row: Replication) -> None:
    if row.name in _ROWS:
        raise ValueError(f"Two replications are called {row.name!r}.")
    _ROWS[row.name] = row


def replications() -> list[Replication]:
    """All rows, section by section."""
    from workbench.probes.replications import rows

    assert rows  # importing it registers them
    return sorted(_ROWS.values(), key=lambda row: SECTIONS.index(row.section))


def get_replication(name: str) -> Replication:
    """The row called `name`.

    Raises:
        InputError: there is none; the message lists the nearest ones.
    """
    names = {row.name: row for row in replications()}
    if name not in names:
        close = ", ".join(nearest(name, names) or sorted(names))
        raise InputError(f"No replication is called {name!r}; there is: {close}.")
    return names[name]
