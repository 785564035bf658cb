"""Paired, alternating measurement.

A machine that others use gets slower and faster by the second. So no side is timed on its own: the baseline runs before
and after every run of every other side, and a ratio is taken to the mean of those two neighbours. A drift that is even
over three runs cancels; a burst spoils one ratio, and the median does not see it.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.records import Comparison, Spread

Call = Callable[[], Any]
Clock = Callable[[], float]


def cpu_seconds() -> float:
    """Processor time of this process and of the children it has waited for: blind to who else uses the machine."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


@dataclass
class Samples:
    """Raw times of one side, and of its neighbours."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    wall_beside: list[float] = field(default_factory=list)
    cpu_beside: list[float] = field(default_factory=list)

    def ratios(self) -> list[float]:
        """Wall time over that of the neighbouring baseline runs, round by round."""
        return [own / beside for own, beside in zip(self.wall, self.wall_beside, strict=True)]

    def cpu_ratios(self) -> list[float]:
        """The same of processor time."""
        return [own / beside for own, beside in zip(self.cpu, self.cpu_beside, strict=True)]

    def extras(self) -> list[float]:
        """Wall time beyond that of the neighbouring baseline runs, in seconds."""
        return [own - beside for own, beside in zip(self.wall, self.wall_beside, strict=True)]


def alternate(
    calls: Mapping[str, Call],
    budget: float,
    least: int = 5,
    most: int = 400,
    warm_up: int = 2,
    wall: Clock = time.perf_counter,
    cpu: Clock = cpu_seconds,
    on_round: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Samples]:
    """Time every call, the first one (the baseline) before and after each of the others.

    Args:
        calls: at least one, by the name of the side.
        budget: seconds that the rounds may take together; `least` and `most` bound their number.
        warm_up: untimed runs of every side; the last of them says how long a round takes.
        on_round: told (rounds done, rounds planned) after each.
    """
    names = list(calls)
    baseline, others = names[0], names[1:]
    round_seconds = 0.0
    for _ in range(warm_up):
        costs = {name: _run(calls[name], wall, cpu)[0] for name in names}
        round_seconds = sum(costs.values()) + len(others) * costs[baseline]
    rounds = max(least, min(most, int(budget / max(round_seconds, 1e-9))))
    samples = {name: Samples() for name in names}
    # What is alive now stays alive: freezing it makes the collections between runs cheap.
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            before = _timed(calls[baseline], samples[baseline], wall, cpu)
            shift = number % len(others) if others else 0
            for name in others[shift:] + others[:shift]:
                _timed(calls[name], samples[name], wall, cpu)
                after = _timed(calls[baseline], samples[baseline], wall, cpu)
                samples[name].wall_beside.append((before[0] + after[0]) / 2)
                samples[name].cpu_beside.append((before[1] + after[1]) / 2)
                before = after
            on_round(number + 1, rounds)
    finally:
        gc.unfreeze()
    return samples


def compare(side: str, against: str, samples: Mapping[str, Samples]) -> Comparison:
    """Two sides through the baseline both ran beside: the quotient of their ratios, round by round."""
    one, other = samples[side], samples[against]
    return Comparison(
        side=side,
        against=against,
        ratio=Spread.of([a / b for a, b in zip(one.ratios(), other.ratios(), strict=True)]),
        cpu_ratio=Spread.of([a / b for a, b in zip(one.cpu_ratios(), other.cpu_ratios(), strict=True)]),
    )


def _timed(call: Call, samples: Samples, wall: Clock, cpu: Clock) -> tuple[float, float]:
    times = _run(call, wall, cpu)
    samples.wall.append(times[0])
    samples.cpu.append(times[1])
    return times


def _run(call: Call, wall: Clock, cpu: Clock) -> tuple[float, float]:
    gc.collect()  # so that no side pays for another's garbage
    cpu_start, start = cpu(), wall()
    result = call()
    times = wall() - start, cpu() - cpu_start
    del result  # freeing what was returned is not part of the time
    return times
