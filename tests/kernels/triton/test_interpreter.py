"""Runs the tests in ``interpreted_*.py`` in Triton's interpreter, each file in a process of its own.

Whether kernels are interpreted is decided when Triton is imported, and another test may have imported it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="The kernels need Triton.")
HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("interpreted_*.py")))
def test_the_kernels_are_right_in_the_interpreter(name: str) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("WORKBENCH_BACKEND", None)
    root = HERE.parents[2]
    run = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", str(HERE / name), "-q", "-x", "-p", "no:cacheprovider"],
        env=environment, cwd=root, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
