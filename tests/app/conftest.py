import sys
from collections.abc import Iterable, Iterator

import pytest

from tests.app.hostile import hostile_store
from tests.browser import chromium, explorer, page

__all__ = ["chromium", "explorer", "hostile_store", "page"]


MAIN = sys.modules["__main__"]


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """A page that runs in this process becomes its main module, which processes started later would run, too."""
    yield
    sys.modules["__main__"] = MAIN


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Give all tests in a browser to one worker: one server and one Chromium are enough."""
    for item in items:
        if {"explorer", "chromium"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("browser"))
