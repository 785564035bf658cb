"""The strip and the matrix in a real browser: hostile tokens stay text, clicks and keys choose what they point at."""

from __future__ import annotations

from typing import Any

from benchmarks.browser import Explorer, settled, visit, width_needed
from workbench.app.serving import Workspace

HOSTILE = (
    """<script>window.hacked = 1</script> it's "quoted" \u202eabc\u202c <img src=x onerror="window.hacked=2"> $x^2$"""
)


def test_hostile_tokens_are_text_and_clicks_and_keys_choose_the_cell_that_they_point_at(
    explorer: Explorer, page: Any
) -> None:
    prompt = Workspace(explorer.workspace).keep_prompt(HOSTILE)
    page.set_viewport_size({"width": 400, "height": 900})
    visit(page, explorer.address("attention", prompt=prompt, layer=1, head=2))
    strip, canvas = page.locator(".strip").first, page.locator(".matrix-canvas").first
    strip.wait_for()
    shown = "".join(strip.locator(".tok").all_inner_texts())
    assert shown.startswith("<script>window.hacked·=·1</script>") and "\u202e" not in shown and "$x^2$" in shown
    assert page.evaluate("window.hacked") is None and strip.locator("script, img").count() == 0
    assert width_needed(page) == 400

    count = strip.locator(".tok").count()
    area = canvas.bounding_box()
    canvas.click(position={"x": area["width"] * 2.5 / count, "y": area["height"] * 7.5 / count})
    page.wait_for_url("**cell=7.2**")
    settled(page)
    assert "token=7" in page.url
    readout = page.locator(".matrix-readout").first
    assert readout.inner_text().startswith("7 “")
    canvas.press("ArrowRight")
    canvas.press("ArrowDown")
    assert readout.inner_text().startswith("8 “") and " reads 3 “" in readout.inner_text()
    canvas.press("Enter")
    page.wait_for_url("**cell=8.3**")
    settled(page)
    assert "token=8" in page.url

    # A cell of the future is none: it chooses nothing.
    canvas.click(position={"x": area["width"] * (count - 0.5) / count, "y": area["height"] * 0.5 / count})
    settled(page)
    assert "cell=8.3" in page.url

    strip.locator(".tok").nth(4).click()
    page.wait_for_url("**token=4**")
    settled(page)
    assert "cell=" not in page.url
    page.locator(".strip").first.locator(".tok").nth(4).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**token=5**")
    settled(page)
    assert page.locator(".strip").first.locator(".tok.chosen").inner_text().rstrip("+−") in shown
