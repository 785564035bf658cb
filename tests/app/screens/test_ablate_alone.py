"""The page Ablate, drawn in this process: what takes long waits for a click."""

import pytest

from tests.app.screens.drawing import drawn, waited
from tests.app.shell.conftest import server
from workbench.app.screens import ablate
from workbench.app.serving import Server, Workspace
from workbench.app.views import ablation_study
from workbench.app.views.ablation_study import Asking, Measured, run_ablation
from workbench.model import HookedModel

__all__ = ["server"]


def test_an_ablation_of_a_large_model_waits_for_a_click(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation_study, "SMALL", 0)
    found = drawn(server, "ablate", prompts="4")
    assert [info.value for info in found.info if "is not small. Press Ablate to begin." in info.value]
    assert not found.get("plotly_chart")
    next(button for button in found.button if button.label == "Ablate").click()
    waited(server, found.run())
    assert found.get("plotly_chart") and not found.info


def test_another_prompt_is_read_token_by_token_and_the_task_is_not_run_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def counted(model: HookedModel, asking: Asking, workspace: Workspace) -> Measured:
        names.append(asking.name)
        return run_ablation(model, asking, workspace)

    monkeypatch.setattr(ablate, "run_ablation", counted)

    def strip(prompt: str) -> bytes:
        found = drawn(server, "ablate", prompts="4", prompt=server.workspace.keep_prompt(prompt))
        assert found.get("plotly_chart") and not found.error
        (node,) = (node for node in found.main if node.type == "bidi_component")
        return bytes(node.proto.SerializeToString())

    assert strip("The state of the Union is strong.") != strip("Our enemies have never been weaker.")
    assert len(names) == 1
    found = drawn(server, "ablate", prompts="4", prompt=server.workspace.keep_prompt("a"))
    assert found.get("plotly_chart") and len(names) == 1
