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


# Registers a thread, bytes of shared memory a program and bytes of spills a thread, at most. With no slack below 255
# registers, the spills are what counts.
BUDGETS = {
    "head_products": (192, 32768, 0),
    "channel_products": (255, 16384, 96),
    "erasing_maps": (248, 32768, 0),
    "run_states": (255, 65536, 32),
    "read_outputs": (192, 24576, 0),
    "outer_products": (192, 16384, 16),
    "times_states": (192, 16384, 0),
    "head_products_backward": (255, 32768, 96),
    "channel_products_backward": (255, 32768, 448),
    "erasing_gradients": (255, 32768, 704),
    "run_energies": (255, 98304, 1792),
    "walk_sources": (255, 65536, 512),
    "scan_chunks": (64, 1024, 0),
    "join_chunks": (48, 1024, 0),
}


def taken(form: str, key: int, capability: int, everything: bool) -> dict[str, dict[str, int]]:
    """The resources of every kernel that a form's outputs, gradients and statistics launch, in a fresh process."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    code = f"from tests.kernels.triton import specimens; specimens.main({form!r}, {key}, {capability}, {everything})"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(HERE.parents[2])!r}); {code}"],
        env=environment, cwd=HERE, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    found: dict[str, dict[str, int]] = json.loads(run.stdout.splitlines()[-1])
    return found


def check(form: str, key: int, capability: int, everything: bool) -> None:
    found = taken(form, key, capability, everything)
    assert found
    for kernel, resources in found.items():
        for what, budget in zip(("registers", "shared", "spills"), BUDGETS[kernel], strict=True):
            assert resources[what] <= budget, (kernel, what, resources)


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("form", "key"), [("mamba", 16), ("gated delta", 128)])
def test_outputs_stay_within_their_budgets(form: str, key: int, capability: int) -> None:
    check(form, key, capability, everything=False)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    ("form", "key"),
    [("scalar", 128), ("diagonal", 128), ("gated delta", 64), ("gated delta", 128), ("channel delta", 128)],
)
def test_gradients_and_statistics_stay_within_their_budgets(form: str, key: int, capability: int) -> None:
    check(form, key, capability, everything=True)
