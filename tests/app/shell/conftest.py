from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.app.serving import Server, the_server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server of pages that run in this process, with an empty workspace."""
    monkeypatch.setenv("WORKBENCH_WORKSPACE", str(tmp_path))
    the_server.cache_clear()
    yield the_server()
    the_server.cache_clear()
