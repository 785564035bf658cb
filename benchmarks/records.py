"""What a measurement leaves behind: the records that are written to disk and read again."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

Quantity = Literal["ratio", "extra_seconds", "seconds", "peak_extra_mb", "memory_ratio"]


class Record(BaseModel):
    """A frozen record that refuses fields it does not know, so that an old file is never half understood."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(Record):
    """A median with the numbers around it."""

    median: float
    q1: float
    q3: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value; quartiles interpolate between values, as numpy's default does."""
        ordered = sorted(values)
        if len(ordered) == 1:
            q1 = q2 = q3 = ordered[0]
        else:
            q1, q2, q3 = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(median=q2, q1=q1, q3=q3, low=ordered[0], high=ordered[-1], n=len(ordered))


class Machine(Record):
    """Where the row was measured."""

    cpu: str
    cores: int
    threads: int
    memory_gb: float
    system: str
    device: str = ""
    """Name of the GPU where the sides ran on one."""

    def line(self) -> str:
        """One line for a table."""
        own = f"{self.cpu}, {self.cores} cores, {self.threads} thread(s) used, {self.memory_gb:g} GB, {self.system}"
        return f"{self.device}; {own}" if self.device else own


class Setting(Record):
    """Everything a row depends on: when one of these changes, the row is measured anew."""

    machine: Machine
    versions: dict[str, str]
    code: str
    """Hash of the source files of the repository that are measured or that measure."""


class SideResult(Record):
    """One side of a race. Ratios are to the baseline runs just before and after; the baseline has none."""

    name: str
    what: str
    seconds: Spread
    cpu_seconds: Spread
    ratio: Spread | None = None
    cpu_ratio: Spread | None = None
    extra_seconds: Spread | None = None
    peak_extra_mb: float | None = None
    max_error: float | None = None
    relative_error: float | None = None
    """`max_error` over the largest absolute value of the answer."""
    extrapolate: float = 1.0
    """By what time and memory would grow at the shapes of the row: above 1 where the side ran at smaller ones."""


class Comparison(Record):
    """Two sides neither of which is the baseline: the quotient of their ratios, round by round."""

    side: str
    against: str
    ratio: Spread
    cpu_ratio: Spread


class Target(Record):
    """A number that was promised: `side`'s `quantity`, relative to `against` (None: the baseline, or nothing).

    One of the two bounds is given. ``"ratio"`` and ``"memory_ratio"`` of a side that ran at smaller shapes than the
    row's are extrapolated to these.
    """

    side: str
    quantity: Quantity
    at_most: float | None = None
    at_least: float | None = None
    against: str | None = None

    def met(self, reached: float) -> bool:
        """Whether a number keeps the promise."""
        return (self.at_most is None or reached <= self.at_most) and (self.at_least is None or reached >= self.at_least)


class Row(Record):
    """One race, measured."""

    name: str
    title: str
    shapes: str
    dtype: str
    baseline: str
    sides: list[SideResult]
    comparisons: list[Comparison]
    targets: list[Target]
    left_out: dict[str, str] = {}
    """Sides that could not be measured here, and why."""
    shared: str | None = None
    """A side that is a part of all others' work."""
    computed: dict[str, str]
    """What is calculated and not measured, by what it says."""
    beside: dict[str, str] = {}
    """What was measured once, by what it says."""
    error_against: str
    notes: str
    setting: Setting
    command: str
    commit: str
    measured_at: str
    load_average: float
    """Of the minute before: above the number of cores, others were using the machine."""

    def side(self, name: str) -> SideResult:
        """The side of that name. Raises KeyError."""
        for side in self.sides:
            if side.name == name:
                return side
        raise KeyError(name)

    def reached(self, target: Target) -> float | None:
        """The number the target is about, or None where it was not measured."""
        sides = {side.name: side for side in self.sides}
        side, against = sides.get(target.side), target.against or self.baseline
        if side is None:
            return None
        if target.quantity not in ("ratio", "memory_ratio"):
            value = getattr(side, target.quantity)
            return value.median if isinstance(value, Spread) else value
        other = sides.get(against)
        grown = side.extrapolate / (1.0 if other is None else other.extrapolate)
        if target.quantity == "memory_ratio":
            if not side.peak_extra_mb or other is None or not other.peak_extra_mb:
                return None
            return grown * side.peak_extra_mb / other.peak_extra_mb
        ratio = side.ratio
        if against != self.baseline:
            pairs = ((each.side, each.against, each.ratio) for each in self.comparisons)
            ratio = next((found for one, two, found in pairs if (one, two) == (side.name, against)), None)
        return None if ratio is None else grown * ratio.median
