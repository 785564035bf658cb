"""Whole commands, as a user starts them: imports and the demo."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.race import CannotMeasure, Contestant, Race
from benchmarks.records import Target

IMPORT_TORCH, IMPORT, IMPORT_LOAD = "import torch", "import workbench", "import torch, workbench; workbench.load"
IMPORT_LENS = "import transformer_lens"
DEMO = "workbench demo"
DEMO_THREADS = 2


def races() -> tuple[Race, ...]:
    """Import time against torch's, and the demo."""
    return _imports(), _demo()


def _imports() -> Race:
    return Race(
        name="import",
        title="Import time",
        shapes="a fresh Python process that does nothing else, files in the page cache",
        dtype="",
        contestants=tuple(
            Contestant(code, f"`python -c '{code}'`", partial(_python, code), answer=None)
            for code in (IMPORT_TORCH, IMPORT, IMPORT_LOAD, IMPORT_LENS)
        ),
        budget=15.0,
        least=4,
        warm_up=1,
        targets=(
            Target(side=IMPORT, quantity="extra_seconds", at_most=0.3),
            Target(side=IMPORT_LOAD, quantity="extra_seconds", at_most=0.3),
        ),
        notes=(
            "`import workbench` imports torch only when a name that needs it is first used, so the third side is the "
            "one that says what the workbench adds."
        ),
    )


def _demo() -> Race:
    return Race(
        name="demo",
        title="The demo",
        shapes=f"`{DEMO}` from start to report, once, {DEMO_THREADS} threads",
        dtype="",
        contestants=(Contestant(DEMO, "the command, in a fresh process and an empty folder", _run_demo, answer=None),),
        least=1,
        most=1,
        warm_up=0,
        targets=(Target(side=DEMO, quantity="seconds", at_most=120.0),),
    )


def _python(code: str) -> Callable[[], None]:
    def call() -> None:
        # Not in the root: its folder kernels/ would shadow a package that transformers looks for.
        _run([sys.executable, "-c", code], tempfile.gettempdir(), {})

    return call


def _run_demo() -> Callable[[], None]:
    command = Path(sys.executable).with_name("workbench")

    def call() -> None:
        with tempfile.TemporaryDirectory() as folder:
            _run([str(command), "demo"], folder, {"OMP_NUM_THREADS": str(DEMO_THREADS)})

    return call


def _run(command: list[str], folder: str, extra: dict[str, str]) -> None:
    finished = subprocess.run(
        command, cwd=folder, env={**os.environ, **extra}, capture_output=True, text=True, check=False
    )
    if finished.returncode != 0:
        said = (finished.stderr or finished.stdout).strip().splitlines()
        raise CannotMeasure(f"{' '.join(command)} failed: {said[-1] if said else 'it said nothing'}")
