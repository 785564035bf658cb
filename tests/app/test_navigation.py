"""Every page that is listed can be drawn, and Streamlit finds no pages of its own."""

import importlib
from pathlib import Path

import pytest

import workbench.app
from workbench.app.navigation import ENTRIES, FIRST

ROOM = Path(workbench.app.__path__[0])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_page_that_is_listed_has_a_module_that_draws_it(entry: object) -> None:
    name = entry.name  # type: ignore[attr-defined]
    assert callable(importlib.import_module(f"workbench.app.screens.{name}").draw)


def test_what_opens_first_is_a_page() -> None:
    assert FIRST in {entry.name for entry in ENTRIES}
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


def test_no_folder_is_taken_for_pages_of_streamlit() -> None:
    # Beside the main script a folder of that name makes a link to a page run its file without the main script.
    assert not (ROOM / "pages").exists()


def test_the_app_listens_on_this_machine_by_its_own_settings() -> None:
    import tomllib

    settings = tomllib.loads((ROOM / ".streamlit" / "config.toml").read_text("utf-8"))
    assert settings["server"]["address"] == "127.0.0.1"
    assert settings["server"]["enableXsrfProtection"] and settings["server"]["maxUploadSize"] == 20
    assert "*" not in settings["server"]["allowedHosts"]
    assert settings["client"]["showErrorDetails"] == "type" and not settings["browser"]["gatherUsageStats"]
