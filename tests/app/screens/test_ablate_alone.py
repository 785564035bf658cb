"""The page Ablate, drawn in this process: what takes long waits for a click."""

import pytest

from tests.app.screens.drawing import drawn, waited
from tests.app.shell.conftest import server
from workbench.app.serving import Server
from workbench.app.views import ablation_study

__all__ = ["server"]


def test_an_ablation_of_a_large_model_waits_for_a_click(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation_study, "SMALL", 0)
    found = drawn(server, "ablate", prompts="4")
    assert [info.value for info in found.info if "is not small. Press Ablate to begin." in info.value]
    assert not found.get("plotly_chart")
    next(button for button in found.button if button.label == "Ablate").click()
    waited(server, found.run())
    assert found.get("plotly_chart") and not found.info
