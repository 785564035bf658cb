"""Runs races in child processes and puts their rows together."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.memory import ENVIRONMENT
from benchmarks.peers import interpreter
from benchmarks.race import CannotMeasure, Race
from benchmarks.records import Comparison, Row, Setting, SideResult
from benchmarks.setting import commit

Progress = Callable[[str, int, int], None]


def measure(race: Race, setting: Setting, command: str, on_progress: Progress) -> Row:
    """Time a race, then take each side's peak memory.

    Raises:
        CannotMeasure: with the child's own sentence, or the last line of what it printed.
    """
    try:
        python = interpreter(race.environment)
    except CannotMeasure:
        if not race.alone:
            raise
        python = interpreter(None)  # where the peers say themselves that they are missing
    load = os.getloadavg()[0]
    measured: dict[str, Any] = {}
    for message in _child(python, ["time", race.name], setting.machine.threads):
        if "total" in message:
            on_progress("rounds", message["done"], message["total"])
        measured = message.get("measured", measured)
    sides = [SideResult.model_validate(side) for side in measured["sides"]]
    if race.memory:
        for number, side in enumerate(sides):
            on_progress("memory", number, len(sides))
            (message,) = _child(python, ["memory", race.name, side.name], setting.machine.threads, ENVIRONMENT)
            sides[number] = side.model_copy(update=message)
    return Row(
        name=race.name,
        title=race.title,
        shapes=race.shapes,
        dtype=race.dtype,
        baseline=race.contestants[0].name,
        sides=sides,
        comparisons=[Comparison.model_validate(comparison) for comparison in measured["comparisons"]],
        targets=list(race.targets),
        shared=race.shared,
        left_out=measured["left_out"],
        computed=race.computed(),
        beside=race.beside(),
        error_against=race.error_against,
        notes=race.notes,
        setting=setting,
        command=command,
        commit=commit(),
        measured_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        load_average=round(load, 2),
    )


def _child(
    python: Path, arguments: list[str], threads: int, extra: dict[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    environment = {
        **os.environ,
        **(extra or {}),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
    }
    read, write = os.pipe()
    environment["BENCHMARK_CHANNEL"] = str(write)
    # Not by -m: processes that a side spawns would import the main module again, which is not on their import path.
    command = [str(python), "-c", "import sys; from benchmarks.child import main; sys.exit(main(sys.argv[1:]))"]
    with tempfile.TemporaryFile("w+") as printed, os.fdopen(read) as channel:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env=environment,
            pass_fds=[write],
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        os.close(write)
        try:
            for line in channel:
                message = json.loads(line)
                if "cannot" in message:
                    raise CannotMeasure(message["cannot"])
                yield message
            if process.wait() != 0:
                printed.seek(0)
                lines = printed.read().strip().splitlines()
                raise CannotMeasure(lines[-1] if lines else f"The measuring process ended with {process.returncode}.")
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
