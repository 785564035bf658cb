import sys
from collections.abc import Iterator

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
