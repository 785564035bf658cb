"""The explorer as its user sees it: from a change of a control to the page that shows it, in a headless Chromium."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import count, cycle
from pathlib import Path
from typing import Any

from benchmarks.race import CannotMeasure, Contestant, Race
from benchmarks.records import Target

MODEL, OTHER = "zoo:mamba", "zoo:attention"
NEW, KEPT, LONG = "another channel", "a channel seen before", "another channel, 4096 tokens"
TOKENS = 4096
SESSIONS = 10


def races() -> tuple[Race, ...]:
    """Times of the page Attention, and the memory of a server with ten sessions."""
    return (
        Race(
            name="explorer",
            title="The explorer",
            shapes=f"page Attention of {MODEL} at 1300 x 900, 19 tokens where not said otherwise",
            dtype="float32",
            contestants=(
                Contestant(NEW, "the channel typed, until the page shows it: computed", partial(_typing, False), None),
                Contestant(KEPT, "the same between two channels that were shown before", partial(_typing, True), None),
                Contestant(LONG, "the channel typed, at 4096 tokens: computed", partial(_typing, False, TOKENS), None),
            ),
            budget=60.0,
            most=20,
            warm_up=3,
            targets=(
                Target(side=NEW, quantity="seconds", at_most=1.0),
                Target(side=KEPT, quantity="seconds", at_most=0.3),
            ),
            beside=_memory,
            notes="Server, browser and clock share the machine. The time ends when Streamlit has nothing left to draw, "
            "noticed at most a frame later.",
        ),
    )


@cache
def _browser() -> Any:
    """A headless Chromium that lives as long as this process."""
    try:
        from playwright.sync_api import sync_playwright

        from benchmarks.browser import ARGUMENTS, chromium_path
    except ImportError as missing:
        raise CannotMeasure(f"The explorer is measured by {missing.name}, which is not installed.") from missing
    executable = chromium_path()
    if executable is None:
        raise CannotMeasure("There is no Chromium here; make chromium installs it where it may.")
    playwright = sync_playwright().start()
    atexit.register(playwright.stop)
    return playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)


@contextmanager
def _explorer() -> Iterator[Any]:
    """A server with an empty workspace."""
    from benchmarks.browser import Explorer

    with tempfile.TemporaryDirectory() as folder:
        server = Explorer(Path(folder))
        try:
            yield server.start()
        finally:
            server.stop()


@cache
def _server() -> Any:
    """One server for all sides of the race."""
    opened = _explorer()
    server = opened.__enter__()
    atexit.register(opened.__exit__, None, None, None)
    return server


def _typing(kept: bool, tokens: int | None = None) -> Callable[[], None]:
    """A call that types a channel and waits until the page shows it."""
    from benchmarks.browser import settled, visit

    page, server = _browser().new_page(viewport={"width": 1300, "height": 900}), _server()
    asked: dict[str, Any] = {"model": MODEL, "layer": "1", "channel": 0}
    if tokens is not None:
        asked["prompt"] = _prompt(server.workspace, tokens)
    visit(page, server.address("attention", **asked))
    # Every side has channels of its own, so that nothing new was computed for another side.
    channels = cycle((0, 1)) if kept else count(10 if tokens is None else 100)
    field = page.get_by_label("Channel", exact=True)

    def call() -> None:
        channel = next(channels)
        field.fill(str(channel))
        field.press("Enter")
        page.get_by_text(f"L1H{channel},").wait_for(timeout=120_000)
        settled(page, calm=0.0)

    return call


def _prompt(workspace: Path, tokens: int) -> str:
    """The id of a prompt of so many tokens, of a speech that is in the repository."""
    import workbench as wb
    from benchmarks import ROOT
    from workbench.app.serving import Workspace

    model = wb.load(MODEL, check=False)
    speech = (ROOT / "studies" / "texts" / "1940-roosevelt.txt").read_text("utf-8")
    ids = model.to_tokens(speech * 4)[0, 1:tokens]
    return Workspace(workspace).keep_prompt(str(model.to_string(ids)))


def _memory() -> dict[str, str]:
    """Resident memory of a server: just started, with one session, and with two models and ten sessions."""
    from benchmarks.browser import visit

    try:
        browser = _browser()
    except CannotMeasure:
        return {}
    found, contexts = {}, []
    with _explorer() as server:
        found["the server before the first session"] = _resident(server.process.pid)
        for number in range(SESSIONS):
            contexts.append(browser.new_context())
            model = (MODEL, OTHER)[number % 2]
            visit(contexts[-1].new_page(), server.address("attention", model=model, layer="1"))
            if number in (0, SESSIONS - 1):
                what = "one session and one model" if number == 0 else f"{SESSIONS} sessions and two models"
                found[f"the server with {what}"] = _resident(server.process.pid)
        for context in contexts:
            context.close()
    return found


def _resident(pid: int) -> str:
    """Resident memory of a process, for people."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError as error:
        raise CannotMeasure("Memory of another process is read from /proc, which is not here.") from error
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return f"{kilobytes / 1000:.0f} MB"
