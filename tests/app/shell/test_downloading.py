"""A link may name any hub id: it is asked about first, and said to be out of reach where downloads are off."""

import pytest
from streamlit.testing.v1 import AppTest

from workbench.app.serving import Server
from workbench.app.shell import downloading

NAME = "someone/model"

DONE: list[str] = []


def page() -> None:
    import streamlit as st

    from workbench.app.shell.asking import Asked
    from workbench.app.shell.downloading import fetch_models

    # The sidebar's own box of a model that it does not offer cannot be clicked on with in this test harness.
    st.session_state["_asked"] = Asked("someone/model", None, "A text.", "0123456789ab")
    fetch_models()
    st.text("the page")


@pytest.fixture
def opened(server: Server, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    DONE.clear()
    monkeypatch.setattr(downloading, "is_fetched", lambda source: False)
    monkeypatch.setattr(downloading, "fetch", lambda source, told: DONE.append(source))
    return AppTest.from_function(page, default_timeout=60)


def test_nothing_is_downloaded_before_somebody_says_so(opened: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "is_offline", lambda: False)
    opened.run()
    assert opened.info[0].value.startswith("Download someone/model from the hub?")
    assert not DONE and not opened.text
    next(button for button in opened.button if button.label == "Download someone/model").click().run()
    assert DONE == [NAME] and opened.text[-1].value == "the page"
    opened.run()
    assert DONE == [NAME] and not opened.info


def test_without_a_network_it_says_so(opened: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "is_offline", lambda: True)
    opened.run()
    assert opened.error[0].value.startswith("someone/model is not on this machine, and downloads are off here")
    assert not DONE and not [button for button in opened.button if button.label.startswith("Download")]


def test_what_is_here_needs_no_question(opened: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "is_fetched", lambda source: True)
    assert opened.run().text[-1].value == "the page"
