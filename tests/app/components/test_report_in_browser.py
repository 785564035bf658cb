"""A report draws its strips and matrices with the scripts of the explorer: used in a browser, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.browser import width_needed
from workbench.report import MatrixPanel, MatrixView, Page, write_page

TOKENS = ["the", " <b>cat</b>", "\n", " sat", " the"]
FIRST = np.tril(np.arange(1.0, 26.0).reshape(5, 5) / 25).astype(np.float32)
SECOND = -FIRST


def _open(page: Any, folder: Path, view: MatrixView) -> None:
    path = folder / "report.html"
    write_page(path, Page("A report", "Who reads from whom.", [view]))
    page.goto(path.as_uri())


def test_a_token_a_row_and_a_thumbnail_choose_what_is_read_out(page: Any, tmp_path: Path) -> None:
    panels = [MatrixPanel("one", "Of head one.", FIRST, False), MatrixPanel("two", "Of head two.", SECOND, True)]
    _open(page, tmp_path, MatrixView(TOKENS, panels))
    told, tokens = page.locator(".readout"), page.locator(".tok")
    assert tokens.all_inner_texts() == ["the", "·<b>cat</b>", "↵", "·sat", "·the"]
    # The last token at first: its row is 21 to 25 of 25, the strongest first.
    assert told.inner_text() == (
        "4 “·the” reads from 4 “·the” 1.000, 3 “·sat” 0.960, 2 “↵” 0.920, 1 “·<b>cat</b>” 0.880."
    )
    tokens.nth(1).hover()
    assert told.inner_text() == "1 “·<b>cat</b>” reads from 1 “·<b>cat</b>” 0.280, 0 “the” 0.240."
    area = page.locator(".matrix-canvas").bounding_box()
    page.mouse.click(area["x"] + 0.1 * area["width"], area["y"] + 0.7 * area["height"])
    assert told.inner_text().startswith("3 “·sat” reads from 3 “·sat” 0.760, 2 “↵” 0.720")
    assert tokens.nth(3).get_attribute("aria-selected") == "true"
    page.get_by_role("button", name="two").click()
    assert page.locator(".panel-caption").inner_text() == "Of head two."
    assert told.inner_text().startswith("3 “·sat” reads from 3 “·sat” -0.760")
    assert "minus" in str(tokens.nth(3).get_attribute("class"))
    tokens.nth(3).press("ArrowLeft")
    assert told.inner_text().startswith("2 “↵” reads from 2 “↵” -0.520")
    assert page.locator("b, script:not([type])").count() == 1  # the page's own script


def test_a_pooled_matrix_on_a_phone_in_the_dark(page: Any, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.emulate_media(color_scheme="dark")
    side = 130  # more cells than go with their exact values: what is read out are the bytes
    pixels = np.tril(np.broadcast_to(np.arange(1.0, side + 1) / side, (side, side))).astype(np.float32)
    tokens = [f"t{i}" for i in range(2 * side)]
    _open(page, tmp_path, MatrixView(tokens, [MatrixPanel("h", "c", pixels, False)], factor=2))
    page.locator(".tok").nth(101).click()
    told = page.locator(".readout").inner_text()
    assert [part.split(" ")[0] for part in told.removeprefix("100–101 “t100…” reads from ").split(", ")] == [
        "100–101", "98–99", "96–97", "94–95"
    ]  # fmt: skip
    read = [float(part.rstrip(".").split(" ")[-1]) for part in told.split(", ")]
    assert np.abs(np.array(read) - np.array([51, 50, 49, 48]) / side).max() <= 0.5 / 252 + 5e-4
    assert width_needed(page) <= 400


def test_short_labels_below_a_matrix_are_shown_whole(page: Any, tmp_path: Path) -> None:
    tokens = [str(number) for number in range(150)]
    _open(page, tmp_path, MatrixView(tokens, [MatrixPanel("h", "c", np.eye(150, dtype=np.float32), False)]))
    labels = page.locator(".matrix-columns bdi")
    assert "100" <= labels.all_inner_texts()[-1] <= "149"
    assert page.evaluate(
        "[...document.querySelectorAll('.matrix-columns bdi')].every(one => one.scrollWidth <= one.clientWidth + 1)"
    )
