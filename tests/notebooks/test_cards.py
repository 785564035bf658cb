"""What results look like at the end of a cell: static, escaped, small, and a text where there is no HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.report import Card, CardTable, Claims, render_card
from workbench.saes import load_sae

HOSTILE = "<script>alert('x')</script> \u202e$x^2$ \"quoted\" &amp;"
ALLOWED = {"div", "strong", "table", "thead", "tbody", "tr", "th", "td"}


class Page(HTMLParser):
    """Tags, attributes and text of a piece of HTML, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def hostile() -> HookedModel:
    """A trained model whose name tries to leave its card."""
    stock = wb.load("zoo:mamba2")
    tokenizer = stock.tokenizer
    return HookedModel(stock.unwrap(), tokenizer, HOSTILE)


@pytest.fixture(scope="module")
def results(hostile: HookedModel) -> dict[str, Any]:
    tokens = hostile.to_tokens("The state of the Union is strong")
    autoencoder = load_sae("zoo:mamba/resid_post")
    autoencoder.cfg = autoencoder.cfg.__class__(**{**autoencoder.cfg.__dict__, "model_name": HOSTILE})
    state = hostile.prefill(tokens)
    claims = Claims()
    claims.add(HOSTILE, True, some_number=0.5)
    return {
        "model": hostile,
        "cache": hostile.run_with_cache(tokens)[1],
        "matrix": hostile.implicit_attention(tokens, layer=1),
        "statistics": hostile.attention_statistics(tokens),
        "state": state.with_recurrent(2, 0 * state.recurrent[2]),
        "autoencoder": autoencoder,
    }


EACH = ("model", "cache", "matrix", "statistics", "state", "autoencoder")


@pytest.mark.parametrize("name", EACH)
def test_card_is_static_escaped_and_small(results: dict[str, Any], name: str) -> None:
    html = results[name]._repr_html_()
    page = Page(html)
    assert page.open == []
    assert set(page.tags) <= ALLOWED
    assert page.attributes <= {"style", "scope", "class"}
    assert not re.search(r"https?:|url\(|@import", html)
    assert len(html.encode()) < 100_000
    assert len(page.text.strip()) > 20


@pytest.mark.parametrize("name", EACH)
def test_text_stands_in_where_there_is_no_html(results: dict[str, Any], name: str) -> None:
    text = repr(results[name])
    assert len(text) < 400
    assert text.startswith(type(results[name]).__name__ + "(")


def test_cards_say_what_matters(results: dict[str, Any], hostile: HookedModel) -> None:
    said = {name: Page(results[name]._repr_html_()).text for name in EACH}
    parameters = sum(parameter.numel() for parameter in hostile.wrapped.parameters())
    assert f"{parameters:,}" in said["model"] and "4 × mamba2" in said["model"]
    assert "<script>" in said["model"]  # as text, which a browser shows and does not run
    assert "U+202E" in said["model"]
    assert "hook_embed" in said["cache"] and "1 × 7 × 128" in said["cache"]
    assert "one a head" in said["matrix"] and "7 × 7" in said["matrix"]
    mean = float(results["statistics"].average("entropy")[2].mean())
    assert f"{mean:.3g}" in said["statistics"]
    assert "after 7 tokens" in said["state"] and re.search(r"\b2 +1 × 4 × 128 × 64 +0 +yes", said["state"])
    assert "1,024" in said["autoencoder"] and "2,498,560" in said["autoencoder"] and "0.933" in said["autoencoder"]


def test_a_card_of_anything_stays_below_its_cap() -> None:
    rows = [("🂡" * 10_000, 1e9 / 3) for _ in range(10_000)]
    html = render_card(Card("t" * 10**6, {str(n): "v" * 10**5 for n in range(1000)}, CardTable(("a", "b"), rows), "n"))
    assert len(html.encode()) < 100_000
    page = Page(html)
    assert "and 9,976 more" in page.text
    assert "3.33e+08" in page.text


def test_claims_are_shown_as_text_as_html_and_as_data() -> None:
    claims = Claims()
    claims.add("Heads <copy>.", torch.tensor(0.9) > 0.5, best_score=0.9)
    claims.add("All layers do.", False)
    bundle = claims._repr_mimebundle_()
    assert repr(claims).splitlines() == ["yes  Heads <copy>. (best score 0.9)", "no   All layers do."]
    page = Page(str(bundle["text/html"]))
    assert "Heads <copy>." in page.words and page.words.count("yes") == 1 and page.words.count("no") == 1
    assert bundle["application/vnd.workbench.claims+json"] == [
        {"sentence": "Heads <copy>.", "holds": True, "numbers": {"best score": 0.9}},
        {"sentence": "All layers do.", "holds": False, "numbers": {}},
    ]


def test_a_matrix_is_drawn_with_its_tokens_and_the_future_hatched(hostile: HookedModel) -> None:
    text = "The <b>state"
    A = hostile.implicit_attention(text, layer=0)
    figure = A.plot(1, hostile.to_str_tokens(text))
    drawn = torch.tensor(figure.data[0].z)
    exact = A.dense(heads=[1])[0, 0]
    below = torch.ones_like(exact).tril().bool()
    assert torch.equal(drawn[below], exact[below])
    assert drawn[~below].isnan().all()
    assert any("&lt;" in label for label in figure.layout.xaxis.ticktext)
    with pytest.raises(InputError, match="texts of tokens"):
        A.plot(1, ["one"])
    with pytest.raises(InputError, match="no sequence 3"):
        A.plot(1, batch=3)
