"""One file, inert whatever the tokens are, that a reader can search and walk through; seen in a real browser."""

import json
import re

import pytest

from tests.saes.export.browser import Browser, chromium
from tests.saes.export.stores import HOSTILE, MemoryStore
from tests.workbench.test_report import Dom
from workbench.errors import InputError
from workbench.figures.tokens import visible_token
from workbench.saes.export import export_dashboard

LABELS = {1: "</script><b>bold\u202e", 3: "months of the year"}
needs_browser = pytest.mark.skipif(chromium() is None, reason="No Chromium is installed here.")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("pages") / "features.html"
    found = export_dashboard(MemoryStore(labels=LABELS), file)
    assert (found.features, found.left_out, found.size) == (12, 0, file.stat().st_size)
    return file


def data_of(file):
    found = Dom(file.read_text()).text["script"][0]
    assert not set("<>&\u2028\u2029") & set(found) and found.isascii()
    return json.loads(found)


def test_the_file_is_one_inert_page_that_fetches_nothing(page):
    hostile = Dom(page.read_text())
    assert [attributes.get("type") for attributes in hostile.named("script")] == ["application/json", None]
    for _, attributes in hostile.elements:
        assert not {"src", "href", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    (policy,) = (meta["content"] for meta in hostile.named("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert hostile.text["h1"] == ["Features of zoo:<b>mamba</b> at blocks.2.hook_resid_post"]


def test_the_data_say_what_the_store_says(page):
    data = data_of(page)
    assert {visible_token(token) for token in HOSTILE} <= set(data["pieces"])
    by_number = {feature["i"]: feature for feature in data["features"]}
    assert by_number[1]["label"] == "</script><b>boldU+202E" and by_number[1]["source"] == "human"
    two = by_number[2]
    assert [data["pieces"][piece] for piece, _ in two["up"]] == [visible_token(one) for one in HOSTILE[:3]]
    assert [effect for _, effect in two["down"]] == [-1.5, -0.25]
    assert [example["b"] for example in two["examples"]] == ["top"] * 5 + ["50-75%"] * 5 + ["random"] * 5
    example = two["examples"][5]
    assert (example["v"], example["r"], example["p"], example["k"]) == (2.5, 2, 21, 1)
    assert example["a"][:2] == [1, 500]  # half of the largest activation, on the second token
    assert two["near"] == [[0, 0.9], [1, 0.5], [3, 0.1]] and two["with"][2] == [3, None]
    dead = by_number[11]
    assert dead["count"] == 0 and dead["examples"] == [] and dead["mean"] is None


def test_a_budget_takes_labelled_features_first_and_says_so(page, tmp_path):
    store = MemoryStore(labels={7: "seven"})
    size = page.stat().st_size
    found = export_dashboard(store, tmp_path / "few.html", budget=size - 3000)
    assert 0 < found.features < 12 and found.features + found.left_out == 12
    assert found.size <= size - 3000
    assert [feature["i"] for feature in data_of(found.path)["features"]][:3] == [7, 0, 1]
    assert f"Truncated to {found.features} of 12" in found.path.read_text()
    chosen = export_dashboard(store, tmp_path / "two.html", [5, 2], per_band=1)
    assert [feature["i"] for feature in data_of(chosen.path)["features"]] == [5, 2]
    assert len(data_of(chosen.path)["features"][0]["examples"]) == 3


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path):
    store, file = MemoryStore(), tmp_path / "page.html"
    for options, says in (
        ({"features": [3, 99]}, "no feature 99; it has 0 to 11"),
        ({"features": [3, 3]}, "once each"),
        ({"features": [0, 1, 2], "budget": 25_000}, r"3 features do not fit into 25000 bytes, .* do"),
        ({"budget": 10}, "not even one does"),
        ({"per_band": 0}, "per_band is 0"),
    ):
        with pytest.raises(InputError, match=says):
            export_dashboard(store, file, **options)
    with pytest.raises(InputError, match="does not exist"):
        export_dashboard(store, tmp_path / "no" / "page.html")
    assert not list(tmp_path.iterdir())


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)], ids=["wide-light", "phone-dark"])
def test_in_a_browser_hostile_tokens_are_shown_and_the_keyboard_is_enough(page, tmp_path, width, dark):
    with Browser(tmp_path, width, dark=dark) as browser:
        browser.open(page)
        assert browser.run("window.hit") is None
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        light = browser.run("getComputedStyle(document.body).backgroundColor")
        assert light == ("rgb(22, 22, 26)" if dark else "rgb(255, 255, 255)")

        def heading():
            return browser.run("document.querySelector('#panel h2').textContent")

        assert heading() == "Feature 0"
        shown = browser.run("[...document.querySelectorAll('#panel .tok')].map(one => one.textContent)")
        assert {visible_token(token) for token in HOSTILE} <= set(shown)
        for key, expected in (("j", "Feature 1"), ("J", "Feature 2"), ("k", "Feature 1")):
            browser.press(key, key)
            assert heading() == expected
        assert browser.run("location.hash") == "#1"
        assert "</script><b>boldU+202E" in browser.run("document.querySelector('#panel strong').textContent")
        assert browser.run("document.querySelectorAll('b').length") == 0
        browser.press("/", "/")
        browser.type("months jk")
        assert browser.run("document.activeElement.id") == "search"
        assert "No feature is left" in browser.run("document.querySelector('#panel').textContent")
        browser.run("document.querySelector('#search').value = ''")
        browser.type("year")
        assert heading() == "Feature 3"
        assert browser.run("document.querySelector('#count').textContent") == "1 of 12 features"
        browser.press("Escape")
        assert browser.run("document.activeElement.id") == "list"
        browser.press("End")
        assert heading() == "Feature 10"
        browser.press("Home")
        browser.press("ArrowDown")
        assert heading() == "Feature 1"
        before = browser.run("document.querySelector('#panel svg rect').getAttribute('y')")
        heights = "[...document.querySelectorAll('#panel rect')].map(one => Number(one.getAttribute('height')))"
        linear = browser.run(heights)
        browser.press("l", "l")
        logarithmic = browser.run(heights)
        assert before is not None and logarithmic[1] > 5 * linear[1] > 0
        browser.run("document.querySelectorAll('#panel .example .tok')[1].click()")
        assert browser.run("document.querySelector('#panel .read').textContent") == "token 21: 4"
        ratio = browser.run(CONTRAST)
        assert ratio >= 4.5, ratio
        assert browser.complaints == []


# The least contrast of a token's text with its own colour laid over the page.
CONTRAST = """
(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = numbers(getComputedStyle(document.body).backgroundColor);
  return Math.min(...[...document.querySelectorAll(".example .tok")].map((token) => {
    const style = getComputedStyle(token);
    const [r, g, b, a = 1] = numbers(style.backgroundColor);
    const behind = light([r, g, b].map((c, i) => a * c + (1 - a) * paper[i]));
    const ink = light(numbers(style.color));
    return (Math.max(ink, behind) + 0.05) / (Math.min(ink, behind) + 0.05);
  }));
})()
"""


@needs_browser
def test_a_link_opens_its_feature_and_filters_hide_the_rare(page, tmp_path):
    with Browser(tmp_path) as browser:
        browser.ask("Page.navigate", url=page.absolute().as_uri() + "#7")
        browser.run("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))")
        assert browser.run("document.querySelector('#panel h2').textContent") == "Feature 7"

        def numbers():
            return browser.run("[...document.querySelectorAll('.row')].map(row => Number(row.id.slice(3)))")

        assert numbers() == list(range(11))  # by frequency; the dead one is left out
        for name, value, expected in (
            ("least", "0.01", list(range(10))),
            ("most", "0.1", list(range(10))),
            ("sort", "max", list(range(9, -1, -1))),
        ):
            browser.run(
                f"(() => {{ const e = document.querySelector('#{name}'); e.value = '{value}'; "
                "e.dispatchEvent(new Event('change')); })()"
            )
            assert numbers() == expected, name
        for name, expected in (("labelled", [3, 1]), ("dead", [3, 1])):
            browser.run(f"document.querySelector('#{name}').click()")
            assert numbers() == expected
        assert browser.complaints == []


def test_every_part_of_the_script_has_its_place_in_the_page(page):
    text = page.read_text()
    script = Dom(text).text["script"][1]
    for name in set(re.findall(r'at\("(\w+)"\)', script)):
        assert f'id="{name}"' in text, name
