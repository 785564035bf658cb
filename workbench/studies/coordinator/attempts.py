"""Who computed what with which versions: written beside the results, and part of no identity."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from workbench.errors import InputError
from workbench.studies.engines.protocol import Outcome
from workbench.studies.schema.study import Run
from workbench.studies.store.journal import Journal

PACKAGES = ("torch", "numpy", "transformers", "safetensors", "ray")


def environment() -> dict[str, str]:
    """Versions that sums can depend on, and the machine."""
    import workbench

    found = {"workbench": workbench.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, "machine": platform.machine(), "system": platform.platform()}


def now() -> str:
    """The time, in UTC, as text that sorts."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Attempts:
    """A run and its workers, each written down when it is first heard of."""

    def __init__(self, journal: Journal, run: Run) -> None:
        self._journal = journal
        self._threads = run.threads
        self._known: dict[tuple[Any, ...], int] = {}
        self._versions = environment()
        self.run_id = journal.begin_run(
            now(), socket.gethostname(), os.getpid(), run.engine, run.workers, _command(), self._versions
        )

    def of(self, outcome: Outcome) -> int:
        """The number of the worker that an outcome comes from."""
        worker: Mapping[str, Any] = outcome.worker
        key = (
            str(worker.get("host", socket.gethostname())),
            int(worker.get("pid", 0)),
            str(worker.get("device", "")),
            int(worker.get("threads", self._threads)),
        )
        if key not in self._known:
            self._known[key] = self._journal.attempt(self.run_id, *key, worker.get("versions", self._versions))
        return self._known[key]

    def end(self, how: str) -> None:
        """The run is over."""
        self._journal.end_run(self.run_id, now(), how)


def end_quietly(attempts: Attempts, how: str) -> None:
    """Note how a run failed, where that can still be written: the disk may be what failed."""
    with suppress(InputError):
        attempts.end(how)


def _command() -> str:
    return shlex.join([os.path.basename(sys.argv[0]) or "python", *sys.argv[1:]])  # noqa: PTH119
