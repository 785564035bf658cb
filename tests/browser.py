"""One explorer and one headless Chromium for the tests that use a browser, a page for each.

A test that takes ``page`` fails on any error that the browser logs. Where there is no Chromium or no playwright these
tests are skipped with a sentence; ``make chromium`` installs Chromium where it may.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.browser import ARGUMENTS, Explorer, chromium_path, watched


@pytest.fixture(scope="session")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    """A running explorer with an empty workspace, the same for all tests: leave nothing in it that others would see."""
    if chromium_path() is None:
        pytest.skip("There is no Chromium here; make chromium installs it where it may.")
    found = Explorer(tmp_path_factory.mktemp("explorer"))
    try:
        yield found.start()
    finally:
        found.stop()


# Of the package, not of the session: while playwright is open this thread has a running event loop, and tests elsewhere
# start loops of their own.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """A headless browser (playwright's `Browser`)."""
    executable = chromium_path()
    if executable is None:
        pytest.skip("There is no Chromium here; make chromium installs it where it may.")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright."
    )
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """An empty page of 1300 x 900 (playwright's `Page`); the test fails if a script of it fails or logs an error."""
    context = chromium.new_context(viewport={"width": 1300, "height": 900})
    made = context.new_page()
    errors = watched(made)
    try:
        yield made
    finally:
        context.close()
    assert errors == []
