"""The Lens page: a worked example at once, a cell in full, a tuned lens trained where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.browser import Explorer, settled, visit, width_needed
from tests.app.screens.drawing import drawn, waited
from tests.app.shell.conftest import server
from workbench.app.serving import Server, Workspace
from workbench.app.views import tuned

__all__ = ["server"]

SENTENCE = "The people of the United States have the right to know the state of the Union. "


def opened(server: Server, **asked: str) -> AppTest:
    return drawn(server, "lens", **asked)


def texts(found: AppTest) -> list[str]:
    return [text.value for text in found.text]


def test_it_opens_on_a_worked_example_and_a_link_restores_a_cell(server: Server) -> None:
    found = opened(server)
    assert any(text.startswith("Logit lens. Position 17 “·Union”, depth 2: KL to the model's") for text in texts(found))
    assert "rank 2, probability 0.106" in "".join(texts(found)) and len(found.dataframe[0].value) == 10
    found = opened(server, cell="4.3", **{"from": "1"})
    assert any(text.startswith("Logit lens. Position 4 “·Union”, depth 4: KL to the model's") for text in texts(found))
    assert "prediction 0.00 nats" in "".join(texts(found))


def test_where_there_is_no_tuned_lens_none_is_shown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuned, "SHIPPED", Path("/nowhere"))
    found = opened(server, lens="tuned")
    assert "There is no tuned lens for zoo:attention, and no text to train one on" in found.info[0].value
    assert not found.dataframe and "Logit lens" not in "".join(texts(found))


def test_a_tuned_lens_is_trained_from_the_page_and_then_read(server: Server) -> None:
    (server.workspace.root / "speech.txt").write_text(SENTENCE * 200)
    found = opened(server, lens="tuned", model="zoo:gla", steps="10")
    train = next(button for button in found.button if button.label.startswith("Train a tuned lens, about "))
    waited(server, train.click().run())
    assert any(text.startswith("Tuned lens. Position 17") for text in texts(found))
    assert any(caption.value.startswith("Trained on speech.txt, 10 steps") for caption in found.caption)
    assert tuned.saved_lens(server.workspace, "zoo:gla") is not None
    found = opened(server, lens="both", model="zoo:gla")
    logit, _, trained, _ = json.loads(found.get("plotly_chart")[1].proto.spec)["data"]  # dotted: the position
    assert (logit["x"], logit["y"] == trained["y"]) == (trained["x"], False)
    said = [text.split(". ", 1)[1] for text in texts(found) if " lens. Position 17 " in text]
    assert len(set(said)) == 2


def test_a_text_that_is_a_page_is_shown_as_text_and_fits_a_telephone(explorer: Explorer, page: Any) -> None:
    hostile = "The <script>window.hacked = 1</script> <img src=x onerror='window.hacked = 1'> $x^2$ **state** of"
    prompt = Workspace(explorer.workspace).keep_prompt(hostile)
    visit(page, explorer.address("lens", prompt=prompt, cell="1.3"))
    page.set_viewport_size({"width": 400, "height": 900})
    settled(page)
    assert page.evaluate("window.hacked") is None and width_needed(page) == 400
    assert page.get_by_text("Position 3 ", exact=False).first.is_visible()
    assert "cell=1.3" in page.url
