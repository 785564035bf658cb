"""Words of others stay words where a page takes Markdown."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from workbench.app.shell.wording import plain

PARSER = MarkdownIt("commonmark")


@given(st.text("ab1 .,:;!?\\`*_[](){}<>&$~^#+-|/\"'é字", max_size=30))
def test_markdown_says_what_was_written(text: str) -> None:
    assert html.unescape(PARSER.renderInline(plain(text))).strip() == text.strip()


@pytest.mark.parametrize(
    "text",
    ["![x](https://elsewhere.example/x.png)", "[Log in](https://elsewhere.example)", "<img src=x>", "# loud", "- one"],
)
def test_there_are_no_links_pictures_or_titles(text: str) -> None:
    made = PARSER.render(plain(text))
    assert made == f"<p>{html.escape(text)}</p>\n"


@pytest.mark.parametrize("text", [":red[x]", ":material/lock:", ":smile:", "$x^2$"])
def test_what_streamlit_reads_into_text_is_broken_up(text: str) -> None:
    assert "\\:" in plain(text) or "\\[" in plain(text) or "\\$" in plain(text)
