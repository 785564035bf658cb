"""The page Ablate, drawn in this process: what takes long waits for a click."""

import time

import pytest
from streamlit.testing.v1 import AppTest

from tests.app.shell.conftest import server
from workbench.app.serving import Server
from workbench.app.views import ablation_study

__all__ = ["server"]


def screen() -> None:
    from workbench.app.screens.ablate import draw
    from workbench.app.shell.asking import sidebar

    sidebar()
    draw()


def waited(server: Server, found: AppTest) -> AppTest:
    """The page once everything is computed."""
    deadline = time.monotonic() + 400
    while (server.jobs.running() or found.get("progress")) and time.monotonic() < deadline:
        time.sleep(0.2)
        found.run()
    assert not found.exception
    return found


def test_an_ablation_of_a_large_model_waits_for_a_click(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation_study, "SMALL", 0)
    found = AppTest.from_function(screen, default_timeout=240)
    found.query_params["prompts"] = "4"
    waited(server, found.run())
    assert [info.value for info in found.info if "is not small. Press Ablate to begin." in info.value]
    assert not found.get("plotly_chart")
    next(button for button in found.button if button.label == "Ablate").click()
    waited(server, found.run())
    assert found.get("plotly_chart") and not found.info
