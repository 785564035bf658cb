from collections.abc import Iterable

import pytest

from tests.app.browser import chromium, explorer, page
from tests.app.hostile import hostile_store

__all__ = ["chromium", "explorer", "hostile_store", "page"]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Give all tests in a browser to one worker: one server and one Chromium are enough."""
    for item in items:
        if {"explorer", "chromium"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("browser"))
