import os
import subprocess
import sys

import pytest

from benchmarks import ROOT
from benchmarks.memory import ENVIRONMENT

PROGRAM = """
import sys
import numpy as np
from benchmarks.memory import peak_extra_mb

calls = []

def call():
    calls.append(1)
    {body}

print(peak_extra_mb(call))
"""


def measured(body: str) -> float:
    program = PROGRAM.format(body=body)
    environment = {**os.environ, **ENVIRONMENT}
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return float(finished.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="The peak can be reset on Linux only.")
@pytest.mark.parametrize(
    ("body", "megabytes"),
    [
        ("return np.ones(25_000_000)", 200),  # what is returned counts
        ("np.ones(25_000_000); np.ones(12_500_000)", 200),  # what was freed counts at its highest, and once
        ("a = np.ones(25_000_000); b = np.ones(12_500_000); return a + 0, b", 500),
        (
            "np.ones(50_000_000 if len(calls) == 1 else 12_500_000)",
            100,
        ),  # and what loading held at its highest does not
        ("return None", 0),
    ],
)
def test_peak_is_what_the_call_held_at_most(body: str, megabytes: float) -> None:
    assert measured(body) == pytest.approx(megabytes, abs=8)
