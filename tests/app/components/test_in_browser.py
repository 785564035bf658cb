"""The strip and the matrix in a real browser: hostile tokens stay text, clicks and keys choose what they point at."""

from __future__ import annotations

import re
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
    assert readout.inner_text().endswith("a token that comes later.")
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


def test_a_part_of_a_page_is_drawn_alone_and_the_link_in_the_sidebar_follows(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("attention", model="zoo:mamba", layer=1, head=5, whole="true"))
    page.evaluate("document.querySelector('[data-testid=stSidebar] textarea').dataset.kept = 'yes'")
    third = page.locator(".thumbnail").nth(2)
    head = third.locator("bdi").inner_text().removeprefix("L1H")
    third.click()
    page.wait_for_url(f"**head={head}&**")
    settled(page)
    assert page.locator('.thumbnail[aria-pressed="true"] bdi').all_inner_texts() == [f"L1H{head}"]
    page.get_by_text(f"L1H{head}, mamba").wait_for()
    assert page.locator("[data-kept]").count() == 1
    page.get_by_role("button", name="Link").click()
    link = page.locator('[data-testid="stPopoverBody"] code')
    link.first.wait_for()
    assert link.count() == 1 and f"head={head}&" in f"{link.inner_text()}&"

    line = page.locator(".curve-plot")
    line.focus()
    line.press("ArrowRight")
    line.press("ArrowRight")
    assert page.locator(".strip-readout").get_by_text("1 back: mean weight").count() == 1


def test_what_does_not_fit_is_reached_by_whole_columns_beside_names_that_stay(explorer: Explorer, page: Any) -> None:
    page.set_viewport_size({"width": 1366, "height": 900})
    visit(page, explorer.address("lens", model="zoo:attention"))
    places = """() => {
        const roots = [...document.querySelectorAll('*')].map((each) => each.shadowRoot);
        const root = roots.find((each) => each?.querySelector('.matrix-box')) ?? document;
        const box = (name) => root.querySelector(`.matrix-${name}`).getBoundingClientRect();
        const [view, rows, plot, chosen] = ['scroll', 'rows', 'plot', 'chosen'].map(box);
        return {left: rows.right, right: view.right, start: rows.left - view.left, wide: plot.width / 19,
                hidden: (rows.right - plot.left) / (plot.width / 19), chosen: [chosen.left, chosen.right]};
    }"""
    which = page.locator(".matrix-beyond span")
    assert which.inner_text().endswith("to 19 of 19; move the slider for the others.")
    at = page.evaluate(places)
    assert at["left"] - 1 <= at["chosen"][0] and at["chosen"][1] <= at["right"] + 1
    page.locator(".matrix-beyond input").press("Home")
    for steps in (0, 1, 1):
        for _ in range(steps):
            page.locator(".matrix-beyond input").press("ArrowRight")
        at = page.evaluate(places)
        columns = (at["right"] - at["left"]) / at["wide"]
        assert abs(columns - round(columns)) < 0.05 and abs(at["hidden"] - round(at["hidden"])) < 0.05
        assert at["start"] == 0
    page.get_by_text("Columns 3 to ").wait_for()


def test_arrows_point_where_numbers_grow_and_a_cell_of_ranks_names_its_channel(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("attention", model="zoo:mamba"))
    page.locator(".matrix-titles").nth(1).wait_for()
    assert page.locator(".matrix-titles").all_inner_texts() == ["reads ↓   is read →", "layer ↑   channel, by rank →"]
    page.locator(".matrix-canvas").last.hover(position={"x": 5, "y": 5})
    assert re.match(r"L3H\d+: entropy", page.locator(".matrix-readout").last.inner_text())
    assert "It is not a probability." in page.locator(".matrix-bar").first.inner_text()
    page.set_viewport_size({"width": 280, "height": 900})  # fewer pixels than channels: they become narrower
    settled(page)
    assert page.locator(".matrix-beyond:visible").count() == 0


def test_the_title_stays_where_it_is_when_another_page_is_opened(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("models"))
    tops = []
    for name in ("Lens", "Models", "Lens"):
        page.locator('[data-testid="stSidebarNav"]').get_by_role("link", name=name).click()
        page.wait_for_url(f"**/{name.lower()}*")
        settled(page, 0.5)
        tops.append(page.evaluate("document.querySelector('h1').getBoundingClientRect().top"))
    assert tops == [48] * 3
