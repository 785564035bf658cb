"""Runs a script in a process of its own, where ``peak()`` says how much memory that process has held at most."""

from __future__ import annotations

import os
import subprocess
import sys

# On Linux the resource module's peak starts at what the parent process held before exec, which hides everything that is
# smaller than the tests themselves; the peak of the address space in /proc does not.
PEAK = """
import pathlib, resource, sys

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024
"""


def printed_numbers(script: str) -> list[int]:
    """The numbers on the last line that `script` prints; it may call ``peak()``, in bytes. One thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", PEAK + script], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    return [int(number) for number in run.stdout.splitlines()[-1].split()]
