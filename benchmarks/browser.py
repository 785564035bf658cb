"""The explorer in a real browser: a server in a process of its own, and waiting until a page of it is drawn.

Times, tests and pictures of the explorer are made with it, in a headless Chromium that playwright drives.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]

PATIENCE = 240.0
"""Seconds until a server must answer or a page must be settled; only a broken one takes as long."""

_SETTLED = """(calm) => {
    const app = document.querySelector('[data-testid="stApp"]');
    const busy = !app
        || !app.querySelector('[data-testid="stMain"] h1, [data-testid="stMain"] [data-testid="stAlert"]')
        || app.dataset.testConnectionState !== 'CONNECTED'
        || app.dataset.testScriptState !== 'notRunning'
        || document.querySelector('[data-testid="stProgress"], [data-testid="stSkeleton"], [data-stale="true"]');
    const now = performance.now();
    if (busy) { window.__calmSince = now; return false; }
    window.__calmSince ??= now;
    return now - window.__calmSince > calm;
}"""


def chromium_path() -> str | None:
    """The browser: what ``$WORKBENCH_CHROMIUM`` names, or the first Chromium on the path."""
    named = os.environ.get("WORKBENCH_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Explorer:
    """A server in a process of its own.

    Attributes:
        workspace: its folder, empty at first.
        port: where it listens, on 127.0.0.1.
        arguments: of ``workbench app``, beyond the workspace and the port.
    """

    workspace: Path
    port: int = field(default_factory=free_port)
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    def address(self, name: str = "", **asked: str | int) -> str:
        """The link of a page with what its controls are set to: ``address("attention", layer=2)``."""
        return f"http://127.0.0.1:{self.port}/{name}" + (f"?{urlencode(asked)}" if asked else "")

    def start(self) -> Explorer:
        """Start it and wait until it answers."""
        with (self.workspace / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "workbench.cli", "app", "--no-open"),
                    *("--workspace", str(self.workspace), "--port", str(self.port), *self.arguments),
                ],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.address("_stcore/health"), timeout=5):
                    return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"The explorer did not start: {self.log()[-2000:]}")

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(PATIENCE)

    def log(self) -> str:
        """What it has written."""
        return (self.workspace / "server.log").read_text("utf-8", errors="replace")


def settled(page: Any, calm: float = 0.25) -> None:
    """Wait until a page is drawn: it has a title or an error, no script runs, no job is awaited, for `calm` seconds."""
    page.wait_for_selector('[data-testid="stApp"]', timeout=1000 * PATIENCE)
    page.evaluate("window.__calmSince = undefined")
    page.wait_for_function(_SETTLED, arg=1000 * calm, timeout=1000 * PATIENCE)


def visit(page: Any, address: str, calm: float = 0.25) -> None:
    """Open a link and wait until its page is settled."""
    page.goto(address, timeout=1000 * PATIENCE)
    settled(page, calm)


def watched(page: Any) -> list[str]:
    """The list in which errors of a page's scripts, its error console and requests to other machines will be."""
    found: list[str] = []

    def heard(message: Any) -> None:
        # Where a link names a page Streamlit asks for its own address below that name first.
        if message.type == "error" and "/_stcore/" not in message.location.get("url", ""):
            found.append(f"{message.text} ({message.location.get('url')})")

    def requested(request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "file:", "data:", "blob:", "about:")):
            found.append(f"request to another machine: {request.url}")

    page.on("pageerror", lambda error: found.append(f"uncaught: {error}"))
    page.on("console", heard)
    page.on("request", requested)
    return found


def width_needed(page: Any) -> int:
    """Pixels the page is wide, scrolled parts included; more than the window means that it scrolls sideways."""
    return int(
        page.evaluate(
            """() => Math.max(document.documentElement.scrollWidth,
                ...[...document.querySelectorAll('[data-testid="stMain"], [data-testid="stAppViewContainer"]')]
                    .map((part) => part.scrollWidth))"""
        )
    )
