"""The Heads page: a worked example at once, a button before a long search, links to where a head is looked at."""

from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.browser import Explorer, settled, visit, width_needed
from tests.app.screens.drawing import drawn, waited
from tests.app.shell.conftest import server
from workbench.app.serving import Server
from workbench.app.views import head_figures

__all__ = ["server"]


def opened(server: Server, **asked: str) -> AppTest:
    return drawn(server, "heads", **asked)


def captions(found: AppTest) -> str:
    return "\n".join(caption.value for caption in found.caption)


def test_it_opens_on_a_worked_example(server: Server) -> None:
    found = opened(server)
    assert "zoo:attention: 4 of 16 heads (25%) lie above their null" in captions(found)
    texts = [text.value for text in found.text]
    assert any(text.startswith("Such heads read the token after the previous occurrence") for text in texts)
    assert any(text.startswith("zoo:attention L1H2: score 0.950 (0.944 to 0.956), null 0.008") for text in texts)
    assert list(found.dataframe[0].value["site"][:4]) == ["L1H2", "L1H3", "L1H1", "L1H0"]
    assert "p =" not in captions(found)  # nothing is ablated before somebody asks for it


def test_a_link_restores_the_head_and_the_check(server: Server) -> None:
    found = opened(server, site="L0H1", check="true", k="1", rank="score")
    assert any(text.value.startswith("zoo:attention L0H1: score") for text in found.text)
    assert "zoo:attention without L1H2: bars are means over 8 sequences" in captions(found)
    assert "(it could be 0.250 at least)" in captions(found)  # three other heads in the layer
    assert not found.error


def test_another_number_of_heads_is_another_check(server: Server) -> None:
    found = opened(server, check="true", k="1", rank="score")
    one = captions(found)
    found.number_input(key="k").set_value(2)
    waited(server, found.run())
    assert "without L1H2: bars" in one and "without L1H2, L1H" in captions(found)


def test_a_map_that_sorts_each_layer_counts_its_ranks_from_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [b'"columnLabels": ["0", "1", "2", "3"]', b'"columnLabels": ["1", "2", "3", "4"]']
    for sorted_from, label in zip((64, 2), labels, strict=True):
        monkeypatch.setattr(head_figures, "SORTED_FROM", sorted_from)
        (drawn,) = (node.proto.SerializeToString() for node in opened(server).main if node.type == "bidi_component")
        assert [one in drawn for one in labels] == [one == label for one in labels]


def test_a_model_is_compared_with_itself(server: Server) -> None:
    found = opened(server, model="zoo:attention", other="zoo:attention")
    assert [title.value for title in found.subheader].count("Table: zoo:attention") == 2


def test_layers_that_are_none_are_a_sentence(server: Server) -> None:
    found = opened(server, layers="first")
    assert found.error[0].value == "'first' names no layers; write numbers and ranges, as in: 0-3, 8."
    assert not server.jobs.running() and not found.dataframe


def test_some_layers_only_are_shown(server: Server) -> None:
    found = opened(server, layers="0-1")
    assert "zoo:attention: 4 of 8 heads (50%)" in captions(found)
    found.text_input(key="layers").set_value("0")
    waited(server, found.run())
    assert "zoo:attention: 0 of 4 heads (0%)" in captions(found)


def test_a_head_that_is_not_there_is_answered_with_a_sentence(server: Server) -> None:
    found = opened(server, site="L9H9")
    assert next(error.value for error in found.error).startswith("'L9H9' is no head of zoo:attention; nearest:")


def test_a_long_search_waits_for_a_click(server: Server) -> None:
    found = opened(server, kind="3-gram")
    assert any(button.label.startswith("Run finder, about ") for button in found.button)
    assert not found.dataframe and not server.jobs.running()


def test_the_best_head_opens_in_attention_and_the_best_four_go_to_ablate(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("heads"))
    page.set_viewport_size({"width": 400, "height": 900})
    settled(page)
    assert width_needed(page) == 400
    page.get_by_text("Send L1H2, L1H3, L1H1, L1H0 to Ablate").click()
    page.wait_for_url("**/ablate*")
    assert parse_qs(urlparse(page.url).query)["sites"] == ["L1H2,L1H3,L1H1,L1H0"]
    visit(page, explorer.address("heads", site="L1H3"))
    page.get_by_text("Open L1H3 in Attention").click()
    page.wait_for_url("**/attention*")
    settled(page)
    asked = parse_qs(urlparse(page.url).query)
    assert (asked["layer"], asked["head"]) == (["1"], ["3"])


def test_the_second_models_head_opens_with_the_second_model(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("heads", model="zoo:attention", other="zoo:mamba2", site="L0H1"))
    page.get_by_test_id("stMain").get_by_role("link", name="Open L0H1 in Attention").last.click()
    page.wait_for_url("**/attention*")
    settled(page)
    assert parse_qs(urlparse(page.url).query)["model"] == ["zoo:mamba2"]
    assert page.locator(".st-key-model input").input_value() == "zoo:mamba2"
