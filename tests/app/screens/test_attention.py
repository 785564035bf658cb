"""The Attention page, drawn in this process: a link restores it, two models meet at the same characters."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.app.screens.drawing import drawn
from tests.app.shell.conftest import server
from workbench.app.serving import Server

__all__ = ["server"]


def opened(server: Server, **asked: str) -> AppTest:
    found = drawn(server, "attention", **asked)
    assert not found.error
    return found


def said(found: AppTest) -> list[str]:
    return [text.value for text in found.text]


def test_it_opens_on_the_head_that_reads_the_token_before(server: Server) -> None:
    found = opened(server)
    assert (found.selectbox(key="layer").value, found.number_input(key="head").value) == ("2", 1)
    assert "Token 14 “·state” reads from" in said(found)  # much before it, and some after it that read it
    assert any(text.startswith("14 “·state” reads 13 “·The”: weight 1, 100.0% of its row") for text in said(found))
    assert any(caption.value.startswith("The page opens on the token three quarters") for caption in found.caption)
    assert any(caption.value.startswith("Reconstruction error") for caption in found.caption)


def test_a_link_restores_token_cell_and_head_and_the_other_model_follows(server: Server) -> None:
    found = opened(server, other="zoo:retnet", layer="1", head="2", token="12", cell="12.6")
    texts = said(found)
    assert texts.count("Token 12 “.” reads from") == texts.count("Token 12 “.” is read by") == 2
    assert any(text.startswith("12 “.” reads 6 “·strong”: weight") for text in texts)
    assert found.selectbox(key="layer").value == "1" and found.selectbox(key="layer-b").value == "as A"
    captions = [caption.value for caption in found.caption]
    assert any(caption.startswith("L1H2, softmax attention") for caption in captions)
    assert any("retnet: implicit mixing, signed" in caption for caption in captions)


def test_what_the_link_asks_for_and_is_not_there_is_left_out(server: Server) -> None:
    found = opened(server, token="999", cell="3.9", head="2")
    assert "Token 14 “·state” reads from" in said(found)
