"""``workbench compile``: build the CPU's kernels now instead of at first use."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workbench.cli import options
from workbench.cli.output import Output
from workbench.errors import InputError


def compile_kernels(json_file: options.JsonFile = None) -> None:
    """Compile the CPU's kernels now, where otherwise the first call that needs one does.

    They are kept in $WORKBENCH_CACHE or ~/.cache/workbench; a second call finds them there.

    Example: workbench compile
    """
    from rich.table import Table

    from workbench.kernels.native import build

    output = Output(json_file)

    def built(name: str) -> dict[str, Any]:
        began = time.monotonic()
        try:
            path = build.build(name)
        except FileNotFoundError as error:
            raise InputError(f"The CPU's kernels were not compiled: {error}. PyTorch computes the same.") from error
        except (OSError, subprocess.SubprocessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise InputError(f"{name}.cpp was not compiled: {reason[0] if reason else error}.") from error
        return {"kernels": name, "file": str(path), "seconds": round(time.monotonic() - began, 1)}

    with output.errors.status("compiling"), ThreadPoolExecutor(max_workers=build.threads()) as workers:
        found = list(workers.map(built, build.SOURCES))
    table = Table("kernels", "seconds", "file")
    for row in found:
        table.add_row(row["kernels"], f"{row['seconds']:.1f}", row["file"])
    output.console.print(table)
    output.save({"compiled": found})
