"""Pages drawn in this process, without a browser, once everything on them is computed."""

from __future__ import annotations

import time

from streamlit.testing.v1 import AppTest

from workbench.app.serving import Server

LONGEST = 400
"""Seconds that are waited at most."""


def screen(name: str) -> None:
    import importlib

    import streamlit as st

    from workbench.app import navigation
    from workbench.app.shell.asking import sidebar

    st.navigation(navigation.pages())
    sidebar()
    importlib.import_module(f"workbench.app.screens.{name}").draw()


def drawn(server: Server, name: str, **asked: str) -> AppTest:
    """A page as a link with these values opens it."""
    found = AppTest.from_function(screen, default_timeout=240, args=(name,))
    for key, value in asked.items():
        found.query_params[key] = value
    return waited(server, found.run())


def waited(server: Server, found: AppTest) -> AppTest:
    """The page run again until it waits for nothing."""
    deadline = time.monotonic() + LONGEST
    while (server.jobs.running() or found.get("progress")) and time.monotonic() < deadline:
        time.sleep(0.1)
        found.run()
    assert not found.exception
    return found
