"""What a race is: sides that do the same job, and what they are held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from benchmarks.records import Target

Device: TypeAlias = Literal["cpu", "cuda"]


class CannotMeasure(Exception):
    """Something a race needs is not here; the message says what, in one sentence."""


def _itself(result: Any) -> Any:
    return result


@dataclass(frozen=True)
class Contestant:
    """One way to do the job.

    Attributes:
        name: short, unique in its race.
        what: what exactly runs, in words a reader can check.
        build: does everything that is not timed and returns the call that is.
        answer: picks, out of what the call returns, the tensor that is compared with the oracle; None: nothing is.
        extrapolate: by what its time and memory would grow at the shapes of the race, where it runs at smaller ones.
        oracle: what its answer is compared with, where that is not the oracle of the race.
    """

    name: str
    what: str
    build: Callable[[], Callable[[], Any]]
    answer: Callable[[Any], Any] | None = _itself
    extrapolate: float = 1.0
    oracle: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Race:
    """Contestants doing one job; the first is the baseline.

    Attributes:
        budget: seconds for the timed rounds together; there are at least `least` rounds and at most `most`.
        compare: pairs of sides, neither of them the baseline, whose ratio is reported too.
        shared: a side that is a part of all others' work: what they take beyond it is reported too.
        oracle: computes what every answer should be; `error_against` says how.
        computed: what is calculated and not measured.
        beside: what is measured once and is no time of a side, such as the memory of a server.
        warm_up: untimed runs before the timed ones, and before the one whose memory is measured.
        memory: whether peak memory is measured as well, each side in a process of its own (a few seconds a side).
        threads: of every side, where the command does not say.
        environment: name of the environment in which all sides run (see `benchmarks.peers`); None: this one.
        alone: whether the baseline is measured, too, where all its peers are left out.
        device: where the sides run; a race on ``"cuda"`` is measured by ``make bench-gpu`` only.
    """

    name: str
    title: str
    shapes: str
    contestants: tuple[Contestant, ...]
    dtype: str = "float32"
    budget: float = 20.0
    least: int = 5
    most: int = 400
    warm_up: int = 2
    compare: tuple[tuple[str, str], ...] = ()
    targets: tuple[Target, ...] = ()
    shared: str | None = None
    oracle: Callable[[], Any] | None = None
    error_against: str = "nothing"
    computed: Callable[[], dict[str, str]] = field(default=lambda: {})
    beside: Callable[[], dict[str, str]] = field(default=lambda: {})
    notes: str = ""
    memory: bool = False
    threads: int = 1
    environment: str | None = None
    alone: bool = False
    device: Device = "cpu"

    def contestant(self, name: str) -> Contestant:
        """The contestant of that name. Raises KeyError."""
        for contestant in self.contestants:
            if contestant.name == name:
                return contestant
        raise KeyError(name)
