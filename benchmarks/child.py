"""Measures one thing in a process of its own: ``python -m benchmarks.child time NAME`` or ``... memory NAME SIDE``.

A fresh process holds nothing of the race before (no patched classes, no registered attention functions, no warm heap),
and its threads are fixed before torch is imported. Progress and the result leave it as JSON lines on a channel of their
own, because TransformerLens prints to standard output.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO

CANNOT_MEASURE = 3


def main(arguments: list[str]) -> int:
    """Measure what the arguments say; results leave through file descriptor ``$BENCHMARK_CHANNEL``."""
    warnings.filterwarnings("ignore")
    channel = os.fdopen(int(os.environ.get("BENCHMARK_CHANNEL", "1")), "w", buffering=1, closefd=False)
    import torch

    from benchmarks.race import CannotMeasure
    from benchmarks.races.registry import race_named

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_grad_enabled(False)
    what, race = arguments[0], race_named(arguments[1])
    try:
        if what == "memory":
            _send(channel, peak_extra_mb=_memory(race, arguments[2]))
        else:
            _send(channel, measured=_time(race, lambda done, total: _send(channel, done=done, total=total)))
    except CannotMeasure as reason:
        _send(channel, cannot=str(reason))
        return CANNOT_MEASURE
    return 0


def _send(channel: TextIO, **message: Any) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _memory(race: Any, side: str) -> float:
    from benchmarks.memory import peak_extra_mb

    return peak_extra_mb(race.contestant(side).build(), race.warm_up)


def _time(race: Any, on_round: Callable[[int, int], None]) -> dict[str, Any]:
    from benchmarks.pairing import alternate, compare
    from benchmarks.records import SideResult, Spread

    expected = race.oracle() if race.oracle is not None else None
    calls = {contestant.name: contestant.build() for contestant in race.contestants}
    errors = {
        contestant.name: largest_error(contestant.answer(calls[contestant.name]()), expected)
        for contestant in race.contestants
        if expected is not None and contestant.answer is not None
    }
    samples = alternate(calls, race.budget, least=race.least, most=race.most, warm_up=race.warm_up, on_round=on_round)
    baseline = race.contestants[0].name
    sides = []
    for contestant in race.contestants:
        taken = samples[contestant.name]
        paired = contestant.name != baseline
        sides.append(
            SideResult(
                name=contestant.name,
                what=contestant.what,
                seconds=Spread.of(taken.wall),
                cpu_seconds=Spread.of(taken.cpu),
                ratio=Spread.of(taken.ratios()) if paired else None,
                cpu_ratio=Spread.of(taken.cpu_ratios()) if paired else None,
                extra_seconds=Spread.of(taken.extras()) if paired else None,
                max_error=errors.get(contestant.name),
            )
        )
    comparisons = [compare(side, against, samples) for side, against in race.compare]
    return {
        "sides": [side.model_dump() for side in sides],
        "comparisons": [comparison.model_dump() for comparison in comparisons],
    }


def largest_error(answer: Any, expected: Any) -> float:
    """Largest absolute difference, in float64. Raises ValueError when the shapes differ."""
    if answer.shape != expected.shape:
        raise ValueError(f"An answer has the shape {tuple(answer.shape)} and the oracle {tuple(expected.shape)}.")
    return float((answer.double() - expected.double()).abs().max())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
