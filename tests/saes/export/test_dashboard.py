"""One file, inert whatever the tokens are, that a reader can search and walk through; seen in a real browser."""

import json
import re

import pytest

from benchmarks.browser import width_needed
from tests.saes.export.stores import HOSTILE, MemoryStore
from tests.workbench.test_report import Dom
from workbench.errors import InputError
from workbench.figures.tokens import visible_token
from workbench.saes.export import export_dashboard

LABELS = {1: "</script><b>bold\u202e", 3: "months of the year"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    file = tmp_path_factory.mktemp("pages") / "features.html"
    found = export_dashboard(MemoryStore(labels=LABELS), file)
    assert (found.features, found.left_out, found.size) == (12, 0, file.stat().st_size)
    return file


def data_of(file):
    found = Dom(file.read_text()).text["script"][0]
    assert not set("<>&\u2028\u2029") & set(found) and found.isascii()
    return json.loads(found)


def test_the_file_is_one_inert_page_that_fetches_nothing(exported):
    hostile = Dom(exported.read_text())
    assert [attributes.get("type") for attributes in hostile.named("script")] == ["application/json", None]
    for _, attributes in hostile.elements:
        assert not {"src", "href", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    (policy,) = (meta["content"] for meta in hostile.named("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert hostile.text["h1"] == ["Features of zoo:<b>mamba</b> at blocks.2.hook_resid_post"]


def test_the_data_say_what_the_store_says(exported):
    data = data_of(exported)
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


def test_a_budget_takes_labelled_features_first_and_says_so(exported, tmp_path):
    store = MemoryStore(labels={7: "seven"})
    size = exported.stat().st_size
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


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")], ids=["wide-light", "phone-dark"])
def test_in_a_browser_hostile_tokens_are_shown_and_the_keyboard_is_enough(page, exported, width, scheme):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(exported.as_uri())
    heading, tokens = page.locator("#panel h2"), page.locator("#panel .tok")
    assert page.evaluate("window.hit") is None
    assert width_needed(page) <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 22, 26)" if scheme == "dark" else "rgb(255, 255, 255)")
    assert heading.text_content() == "Feature 0"
    assert {visible_token(token) for token in HOSTILE} <= set(tokens.all_text_contents())
    for key, expected in (("j", "Feature 1"), ("J", "Feature 2"), ("k", "Feature 1")):
        page.keyboard.press(key)
        assert heading.text_content() == expected
    assert page.evaluate("location.hash") == "#1"
    assert "</script><b>boldU+202E" in page.locator("#panel strong").first.text_content()
    assert page.locator("b").count() == 0
    page.keyboard.press("/")
    page.keyboard.type("months jk")
    assert page.evaluate("document.activeElement.id") == "search"
    assert "No feature is left" in page.locator("#panel").text_content()
    page.evaluate("document.querySelector('#search').value = ''")
    page.keyboard.type("year")
    assert heading.text_content() == "Feature 3"
    assert page.locator("#count").text_content() == "1 of 12 features"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "list"
    page.keyboard.press("End")
    assert heading.text_content() == "Feature 10"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    assert heading.text_content() == "Feature 1"
    heights = "[...document.querySelectorAll('#panel rect')].map(one => Number(one.getAttribute('height')))"
    linear = page.evaluate(heights)
    page.keyboard.press("l")
    logarithmic = page.evaluate(heights)
    assert logarithmic[1] > 5 * linear[1] > 0
    page.locator("#panel .example .tok").nth(1).click()
    assert page.locator("#panel .read").first.text_content() == "token 21: 4"
    assert page.evaluate(CONTRAST) >= 4.5


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


def test_a_link_opens_its_feature_and_filters_hide_the_rare(page, exported):
    page.goto(exported.as_uri() + "#7")
    assert page.locator("#panel h2").text_content() == "Feature 7"

    def numbers():
        return page.evaluate("[...document.querySelectorAll('.row')].map(row => Number(row.id.slice(3)))")

    assert numbers() == list(range(11))  # by frequency; the dead one is left out
    for name, value, expected in (
        ("least", "0.01", list(range(10))),
        ("most", "0.1", list(range(10))),
        ("sort", "max", list(range(9, -1, -1))),
    ):
        page.evaluate(
            "([name, value]) => { const e = document.getElementById(name); e.value = value;"
            " e.dispatchEvent(new Event('change')); }",
            [name, value],
        )
        assert numbers() == expected, name
    for name, expected in (("labelled", [3, 1]), ("dead", [3, 1])):
        page.evaluate(f"document.querySelector('#{name}').click()")
        assert numbers() == expected


def test_every_part_of_the_script_has_its_place_in_the_page(exported):
    text = exported.read_text()
    script = Dom(text).text["script"][1]
    for name in set(re.findall(r'at\("(\w+)"\)', script)):
        assert f'id="{name}"' in text, name
