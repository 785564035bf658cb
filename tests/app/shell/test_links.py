"""A link restores the view it was copied from."""

from typing import Any

from tests.app.browser import Explorer, settled, visit


def test_a_page_opens(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("attention", layer=2))
    assert page.get_by_label("Layer").input_value() == "2"
    page.get_by_label("Layer").fill("3")
    page.keyboard.press("Enter")
    settled(page)
    assert "layer=3" in page.url
