"""Measures one thing in a process of its own, given ``time NAME`` or ``memory NAME SIDE``.

A fresh process holds nothing of the race before (no patched classes, no registered attention functions, no warm heap),
and its threads are fixed before torch is imported. Progress and the result leave it as JSON lines on a channel of their
own, because TransformerLens prints to standard output.
"""

from __future__ import annotations

import json
import os
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
    from benchmarks.memory import peak_extra_mb, peak_extra_mb_on_gpu

    peak = peak_extra_mb if race.device == "cpu" else peak_extra_mb_on_gpu
    return peak(race.contestant(side).build(), race.warm_up)


def _time(race: Any, on_round: Callable[[int, int], None]) -> dict[str, Any]:
    from benchmarks.pairing import alternate, compare
    from benchmarks.records import SideResult, Spread

    calls, left_out = _build(race)
    running = [contestant for contestant in race.contestants if contestant.name in calls]
    errors = _errors(race, running, calls)
    samples = alternate(calls, race.budget, least=race.least, most=race.most, warm_up=race.warm_up, on_round=on_round)
    baseline = race.contestants[0].name
    sides = []
    for contestant in running:
        taken = samples[contestant.name]
        paired = contestant.name != baseline
        absolute, relative = errors.get(contestant.name, (None, None))
        sides.append(
            SideResult(
                name=contestant.name,
                what=contestant.what,
                seconds=Spread.of(taken.wall),
                cpu_seconds=Spread.of(taken.cpu),
                ratio=Spread.of(taken.ratios()) if paired else None,
                cpu_ratio=Spread.of(taken.cpu_ratios()) if paired else None,
                extra_seconds=Spread.of(taken.extras()) if paired else None,
                max_error=absolute,
                relative_error=relative,
                extrapolate=contestant.extrapolate,
            )
        )
    comparisons = [compare(side, against, samples) for side, against in race.compare if {side, against} <= set(calls)]
    return {
        "sides": [side.model_dump() for side in sides],
        "comparisons": [comparison.model_dump() for comparison in comparisons],
        "left_out": left_out,
    }


def _build(race: Any) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """The calls of the sides that can be measured here, the baseline among them, and why the others cannot."""
    from benchmarks.race import CannotMeasure

    calls: dict[str, Callable[[], Any]] = {}
    left_out: dict[str, str] = {}
    for contestant in race.contestants:
        try:
            calls[contestant.name] = _finished(contestant.build(), race.device)
        except CannotMeasure as reason:
            if not calls:
                raise
            left_out[contestant.name] = str(reason)
    if len(calls) == 1 < len(race.contestants) and not race.alone:
        raise CannotMeasure(" ".join(left_out.values()))
    return calls, left_out


def _finished(call: Callable[[], Any], device: str) -> Callable[[], Any]:
    """The call, ended when its device has done the work."""
    if device == "cpu":
        return call
    import torch

    def and_wait() -> Any:
        result = call()
        torch.cuda.synchronize()
        return result

    return and_wait


def _errors(race: Any, running: list[Any], calls: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    """Largest absolute error of each side, and that over the largest value it should have given."""
    shared = race.oracle() if race.oracle is not None else None
    errors = {}
    for contestant in running:
        expected = shared if contestant.oracle is None else contestant.oracle()
        if expected is not None and contestant.answer is not None:
            error = largest_error(contestant.answer(calls[contestant.name]()), expected)
            errors[contestant.name] = (error, error / max(float(expected.abs().max()), 1e-300))
    return errors


def largest_error(answer: Any, expected: Any) -> float:
    """Largest absolute difference, in float64. Raises ValueError when the shapes differ."""
    if answer.shape != expected.shape:
        raise ValueError(f"An answer has the shape {tuple(answer.shape)} and the oracle {tuple(expected.shape)}.")
    return float((answer.double().cpu() - expected.double().cpu()).abs().max())
