"""In a browser: every page fits a phone, can be read in both themes, and says what it is."""

from typing import Any

import pytest

from benchmarks.browser import Explorer, settled, visit, width_needed
from workbench.app.navigation import ENTRIES

PHONE = {"width": 400, "height": 800}

# Luminance as in WCAG 2.2; the ratio of the title and of the page behind it.
CONTRAST = """() => {
    const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(channel);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const text = light(getComputedStyle(document.querySelector('h1')).color);
    const page = light(getComputedStyle(document.querySelector('[data-testid="stApp"]')).backgroundColor);
    return [(Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05), page];
}"""


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_page_fits_a_phone_in_light_and_dark(entry: Any, explorer: Explorer, page: Any) -> None:
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    visit(page, explorer.address(entry.name))
    assert page.locator("h1").inner_text() == entry.title
    assert width_needed(page) == PHONE["width"]
    dark_ratio, dark_page = page.evaluate(CONTRAST)
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"() => ({CONTRAST})()[1] !== {dark_page}")
    light_ratio, light_page = page.evaluate(CONTRAST)
    assert dark_page < 0.1 < 0.9 < light_page
    assert min(dark_ratio, light_ratio) >= 7
    assert width_needed(page) == PHONE["width"]
    assert page.locator('[data-testid="stException"]').count() == 0


def test_a_tour_of_all_pages_with_one_model_meets_no_fault(explorer: Explorer, page: Any) -> None:
    """Pages share controls by their names in the link; what one leaves there another must be able to take."""
    visit(page, explorer.address("attention", model="zoo:mamba"))
    for entry in [*ENTRIES, *reversed(ENTRIES)]:
        page.get_by_test_id("stSidebarNavItems").get_by_role("link", name=entry.title, exact=True).click()
        page.locator("h1", has_text=entry.title).wait_for()
        settled(page)
        assert page.locator('[data-testid="stException"]').count() == 0, entry.name


def test_on_a_phone_the_sidebar_goes_when_a_page_was_chosen_in_it(explorer: Explorer, page: Any) -> None:
    page.set_viewport_size(PHONE)
    visit(page, explorer.address("studies"))
    for name in ("State", "Studies"):
        page.get_by_test_id("stExpandSidebarButton").click()
        page.get_by_test_id("stSidebar").get_by_role("link", name=name).click()
        page.wait_for_function("""() => {
            const place = document.querySelector('[data-testid="stSidebar"]').getBoundingClientRect();
            return place.right <= 0;
        }""")
        settled(page)
