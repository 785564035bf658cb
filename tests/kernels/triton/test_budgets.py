"""What each kernel takes of an SM, compiled ahead of time for GPUs that need not be here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="The kernels need Triton.")
HERE = Path(__file__).parent


def taken(form: str, key: int, capability: int) -> dict[str, dict[str, int]]:
    """The resources of every kernel that a form's outputs, gradients and statistics launch, in a fresh process."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    code = f"from tests.kernels.triton import specimens; specimens.main({form!r}, {key}, {capability})"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(HERE.parents[2])!r}); {code}"],
        env=environment, cwd=HERE, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    found: dict[str, dict[str, int]] = json.loads(run.stdout.splitlines()[-1])
    return found
