"""Studies that the app starts: processes of their own, which outlive the page, the session and the server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from workbench.app.serving.workspace import OWN, Workspace
from workbench.errors import InputError
from workbench.studies.store.locking import LOCK, is_running

RUNS = "study-runs"
"""Folder of the workspace in which runs lie, as the command line has it."""

# A server in the background may ignore Ctrl-C, and its children would with it; that is how a study is stopped.
_LAUNCH = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv[0] = 'workbench'; "
    "from workbench.cli import main; main()"
)

STOPPED = (130, -signal.SIGINT)
"""Exit status of a study that was stopped: by its own hand, or before it had begun to listen."""

REPLAN = "--replan"
"""The option that a process which refuses a changed study names."""

TAIL = 2000
"""Characters of what a process said that are shown."""


class StudyRuns:
    """Starts, stops and resumes the studies of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._started: dict[Path, subprocess.Popen[bytes]] = {}
        self._asked: dict[Path, tuple[str, ...]] = {}
        self._launched: dict[Path, str] = {}

    def start(self, file: Path, folder: Path) -> None:
        """Run the study of a file in a folder, in a process of its own; what is measured already is kept.

        Raises:
            InputError: a path lies outside the workspace, or the study runs already.
        """
        self._launch(folder, "run", str(self._workspace.inside(file)), "--out", str(self._workspace.inside(folder)))

    def resume(self, folder: Path) -> None:
        """Go on with the study of a folder. Raises InputError as `start`."""
        self._launch(folder, "resume", str(self._workspace.inside(folder)))

    def replan(self, folder: Path) -> None:
        """Start once more what was refused because the study has changed; what is in both studies is kept.

        Raises:
            InputError: this server started nothing in the folder, or somebody runs it.
        """
        asked = self._asked.get(self._workspace.inside(folder))
        if asked is None:
            raise InputError(f"Nothing was started in {folder.name} from here yet; press Start or Resume first.")
        self._launch(folder, *(part for part in asked if part != REPLAN), REPLAN)

    def changed(self, folder: Path) -> bool:
        """Whether the last process of a folder ended because the study is another than the one it has results of."""
        return self.refused(folder) and REPLAN in self.said(folder)

    def stop(self, folder: Path) -> bool:
        """Ask whoever runs the study of a folder on this machine to end, as Ctrl-C does; whether somebody was asked."""
        folder = self._workspace.inside(folder)
        process = self._process(folder)
        if process is not None:
            process.send_signal(signal.SIGINT)
            return True
        number = _holder(folder) if is_running(folder) else None
        if number is None:
            return False
        os.kill(number, signal.SIGINT)
        return True

    def starting(self, folder: Path) -> bool:
        """Whether a process that this server started for a folder is there, perhaps before it has planned anything."""
        return self._process(self._workspace.inside(folder)) is not None

    def launched(self, folder: Path) -> str | None:
        """When the process that this server started for a folder, and that is there yet, began: ISO 8601 in UTC."""
        folder = self._workspace.inside(folder)
        with self._lock:
            return self._launched[folder] if self._alive(folder) is not None else None

    def refused(self, folder: Path) -> bool:
        """Whether the last process that this server started for a folder ended with an error; not by Ctrl-C."""
        with self._lock:
            process = self._started.get(self._workspace.inside(folder))
        return process is not None and process.poll() not in (None, 0, *STOPPED)

    def said(self, folder: Path) -> str:
        """The end of what the last process that the app started for a folder has written; empty where there is none."""
        try:
            text = self._log(self._workspace.inside(folder)).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return text[-TAIL:].strip()

    def _launch(self, folder: Path, *arguments: str) -> None:
        folder = self._workspace.inside(folder)
        with self._lock:
            if is_running(folder) or self._alive(folder) is not None:
                raise InputError(f"The study in {folder.name} is running already; cancel it first.")
            self._asked[folder] = arguments
            # Whole seconds, as a run notes its own beginning, which cannot lie before this.
            self._launched[folder] = datetime.now(UTC).isoformat(timespec="seconds")
            log = self._log(folder)
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as output:
                self._started[folder] = subprocess.Popen(
                    [sys.executable, "-c", _LAUNCH, "study", *arguments],
                    cwd=self._workspace.root,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C at the server is not for the study
                )

    def _process(self, folder: Path) -> subprocess.Popen[bytes] | None:
        with self._lock:
            return self._alive(folder)

    def _alive(self, folder: Path) -> subprocess.Popen[bytes] | None:
        process = self._started.get(folder)
        return process if process is not None and process.poll() is None else None

    def _log(self, folder: Path) -> Path:
        return self._workspace.root / OWN / "runs" / f"{folder.name}.log"


def _holder(folder: Path) -> int | None:
    """The process that holds the lock of a folder, if it is one of this machine."""
    try:
        noted = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return int(noted["pid"]) if noted["host"] == socket.gethostname() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
