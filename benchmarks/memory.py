"""Peak extra memory of one call, measured in a process that does nothing else.

The number is the highest resident set during the call, less the resident set just before it. Linux can reset the
recorded peak (``/proc/self/clear_refs``), which makes the first number exact; elsewhere the process-wide peak is used,
which is the same unless loading took more than the call.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What is freed goes back to the system at once: otherwise the call would be served from memory that the warm-up left,
# and look smaller than it is.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def peak_extra_mb(call: Callable[[], Any], warm_up: int = 1) -> float:
    """Megabytes (1e6 bytes) by which the resident set grows at most while `call` runs, what it returns included."""
    for _ in range(warm_up):
        call()
    gc.collect()
    if sys.platform == "linux":
        # musl has no malloc_trim; it also keeps little.
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
    _reset_peak()
    before = _resident()
    result = call()
    peak = _peak()
    del result
    return max(0.0, (peak - before) / 1e6)


def peak_extra_mb_on_gpu(call: Callable[[], Any], warm_up: int = 1) -> float:
    """The same of the memory that torch's allocator hands out on the GPU."""
    import torch

    for _ in range(warm_up):
        call()
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = call()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    del result
    return max(0.0, (peak - before) / 1e6)


def _reset_peak() -> None:
    if _RESET.exists():
        _RESET.write_text("5")


def _resident() -> float:
    return _status("VmRSS") if _STATUS.exists() else _peak()


def _peak() -> float:
    if _STATUS.exists():
        return _status("VmHWM")
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024


def _status(key: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return float(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} does not list {key}.")
