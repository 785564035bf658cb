import base64
import hashlib
import json
import os
import stat
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.figures import score_map
from workbench.report import (
    Code,
    Heading,
    MatrixPanel,
    MatrixView,
    Note,
    Page,
    Paragraph,
    Plot,
    Table,
    check_writable,
    render_page,
    write_atomically,
    write_page,
)
from workbench.report.page import inert_json

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "' onmouseover='alert(4)",
    "`${alert(5)}`",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "\u2028\u202e\x00",
    "&lt;b&gt;",
    "\ud800",
]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Dom(HTMLParser):
    """Everything a page holds: elements with their attributes, text by element, and whether tags balance."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.text[self.open[-1]][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


def a_page(texts: list[str]) -> Page:
    side = len(texts)
    pixels = np.tril(np.ones((side, side), dtype=np.float32))
    everything = " ".join(texts)
    return Page(
        everything,
        everything,
        [
            Heading(everything),
            Paragraph(everything),
            Note(everything),
            Code(everything),
            Table(texts, [texts, texts], everything),
            Plot(score_map([np.array([0.5, 0.1])], name="score"), everything),
            MatrixView(texts, [MatrixPanel(text, text, pixels, False) for text in texts]),
        ],
        {text: text for text in texts},
    )


@pytest.fixture(scope="module")
def hostile() -> Dom:
    return Dom(render_page(a_page(HOSTILE)))


def test_hostile_text_adds_no_element_and_no_attribute(hostile):
    tame = Dom(render_page(a_page([f"t{i}" for i in range(len(HOSTILE))])))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in tame.elements]
    names = [[set(attributes) for _, attributes in dom.elements] for dom in (hostile, tame)]
    assert names[0] == names[1]
    assert not hostile.open


def test_hostile_text_is_shown_as_it_is(hostile):
    assert hostile.text["h1"] == [" ".join(HOSTILE)]
    assert "<script>alert(1)</script>" in hostile.text["bdi"]
    assert hostile.text["td"][5] == "{{ 7 * 7 }}{% raw %}"


def test_hostile_text_in_the_data_stays_data(hostile):
    block = next(text for attributes, text in _scripts(hostile) if attributes.get("id") == "data")
    data = json.loads(block)
    assert [panel["caption"] for panel in data["matrices"]["b6"]["panels"]] == HOSTILE
    assert not set("<>&\u2028") & set(block)


def test_only_the_three_scripts_of_the_page_are_there_and_the_policy_names_two_hashes(hostile):
    scripts = _scripts(hostile)
    assert [attributes.get("type") for attributes, _ in scripts] == ["application/json", None, None]
    policy = next(m["content"] for m in hostile.named("meta") if m.get("http-equiv") == "Content-Security-Policy")
    allowed = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for _, text in scripts[1:]
    }
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert set(directives["script-src"].split()) == allowed
    assert directives["default-src"] == "'none'"


def test_nothing_is_fetched_from_anywhere(hostile):
    for tag, attributes in hostile.elements:
        for name in ("src", "href", "action", "data", "poster"):
            if name in attributes:
                assert tag == "img" and attributes[name].startswith("data:image/png;base64,")


def test_plotly_is_inlined_once_and_only_where_there_is_a_plot():
    with_plots = render_page(a_page(["a", "b"]))
    assert with_plots.count("plotly.js v") == 1
    assert "plotly.js v" not in render_page(Page("words", "only", [Paragraph("nothing to draw")]))


def test_json_in_a_script_cannot_end_it_and_refuses_what_json_has_no_word_for():
    text = inert_json({"a": "</script><!-- & \u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!-- & \u2028"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        inert_json({"a": float("nan")})


def test_a_missing_value_in_a_matrix_survives_to_the_page():
    pixels = np.array([[1.0, 0.0], [np.nan, 2.0]], dtype=np.float32)
    dom = Dom(render_page(Page("t", "l", [MatrixView(["a", "b"], [MatrixPanel("h", "c", pixels, False)])])))
    data = json.loads(next(text for attributes, text in _scripts(dom) if attributes.get("id") == "data"))
    (panel,) = data["matrices"]["b0"]["panels"]
    values = np.frombuffer(base64.b64decode(panel["values"]), dtype="<f4").reshape(2, 2)
    assert values[0, 0] == 1 and values[1, 1] == 2 and np.isnan(values[1, 0])
    levels = np.frombuffer(base64.b64decode(panel["levels"]), dtype=np.uint8).reshape(2, 2)
    header = panel["header"]
    assert levels.tolist() == [[header["top"] // 2, header["masked"]], [header["missing"], header["top"]]]
    assert header["notes"] == ["Hatched: a token that comes later.", "Grey: 1 not a number."]


def test_a_matrix_needs_no_plotly_and_a_large_one_goes_as_bytes_only():
    side = 200
    pixels = np.tril(np.random.default_rng(0).random((side, side))).astype(np.float32)
    tokens = [f"t{i}" for i in range(2 * side)]
    source = render_page(Page("t", "l", [MatrixView(tokens, [MatrixPanel("h", "c", pixels, False)] * 2, factor=2)]))
    assert "plotly.js v" not in source and len(source) < 300_000
    data = json.loads(next(text for attributes, text in _scripts(Dom(source)) if attributes.get("id") == "data"))
    view = data["matrices"]["b0"]
    assert view["names"]["rowNames"][3] == "6–7 “t6…”"
    assert [panel["values"] for panel in view["panels"]] == [None, None]
    header = view["panels"][0]["header"]
    levels = np.frombuffer(base64.b64decode(view["panels"][0]["levels"]), dtype=np.uint8).reshape(side, side)
    shown = header["low"] + (header["high"] - header["low"]) * levels / header["top"]
    below = np.tril(np.ones((side, side), dtype=bool))
    assert (
        np.abs(shown - np.minimum(pixels, header["high"]))[below].max() <= 0.5 * header["high"] / header["top"] + 1e-6
    )


def test_one_panel_needs_no_thumbnails_and_a_newline_ends_a_line():
    one = np.ones((2, 2), dtype=np.float32)
    dom = Dom(render_page(Page("t", "l", [MatrixView(["a", "\n"], [MatrixPanel("h", "c", one, False)])])))
    assert not dom.named("button")
    assert len(dom.named("br")) == 1
    assert dom.text["bdi"] == ["a", "↵"]


def test_a_page_is_written_in_full_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("what was there before")

    def fails(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(InputError, match="could not be written: No space left on device"):
        write_page(target, Page("t", "l", []))
    assert target.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_written_file_is_readable_by_whom_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "a.json", "{}")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o644


def test_a_place_that_cannot_be_written_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        check_writable(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        check_writable(tmp_path / "missing" / "page.html")
    check_writable(Path("page.html"))


def _scripts(dom: Dom) -> list[tuple[dict[str, str | None], str]]:
    return list(zip(dom.named("script"), dom.text["script"], strict=True))
