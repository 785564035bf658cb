"""Predicates say what a reader would say, and the unit that was built to follow one is found."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.neurons import (
    PREDICATES,
    Corpus,
    cell_values,
    cells_that_follow,
    plot_cell,
    read_corpus,
    token_corpus,
    token_labels,
)

TEXT = 'She said "no (not\nnow)" and [left].\n\nThen “it” ended'


def marked(predicate: str, text: str) -> str:
    """The characters at which a predicate holds."""
    return "".join(character for character, holds in zip(text, PREDICATES[predicate](text), strict=True) if holds)


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ("inside_quotes", '"no (not\nnow)"“it”'),
        ("inside_brackets", "(not\nnow)[left]"),
        ("is_capital", "ST"),
        ("is_digit", ""),
        ("next_is_newline", "t.\n"),
    ],
)
def test_predicates_hold_where_they_should(predicate: str, expected: str) -> None:
    assert marked(predicate, TEXT) == expected


def test_an_empty_line_ends_a_quotation_that_was_left_open() -> None:
    assert marked("inside_quotes", '"a\nb\n\nc') == '"a\nb\n'


def test_counts_begin_anew() -> None:
    assert PREDICATES["line_position"]("ab\nc") == [1, 2, 3, 1]
    assert PREDICATES["word_position"]("ab c1.") == [1, 2, 0, 1, 2, 0]
    assert PREDICATES["bracket_depth"]("(a[b)]]") == [1, 1, 2, 2, 1, 0, 0]
    assert PREDICATES["next_is_space"]("a b") == [True, False, False]


@pytest.mark.parametrize("predicate", PREDICATES)
def test_an_empty_text_has_no_characters(predicate: str) -> None:
    assert len(PREDICATES[predicate]("")) == 0


@pytest.fixture(scope="module")
def lstm() -> HookedModel:
    return wb.load("zoo:lstm", check=False)


@pytest.fixture(scope="module")
def corpus(lstm: HookedModel) -> Corpus:
    generator = np.random.default_rng(0)
    words = ["the", "house", "of", "a", "people", "great", "and", "years"]
    lines = [" ".join(generator.choice(words, generator.integers(3, 15))) for _ in range(120)]
    return read_corpus(lstm, "\n".join(lines), 64)


def test_labels_are_the_predicate_at_the_last_character_of_each_token(lstm: HookedModel, corpus: Corpus) -> None:
    labels = token_labels(corpus, "next_is_space")
    text = corpus.texts[0]
    for window in (0, 3):
        for at in range(64):
            start, stop = corpus.spans[window, at]
            assert lstm.to_string(corpus.tokens[window, [at]]) == text[start:stop]
            assert labels[window, at] == (stop < len(text) and text[stop].isspace())


def test_a_unit_that_is_the_predicate_is_found_with_its_sign(lstm: HookedModel, corpus: Corpus) -> None:
    labels = torch.tensor(token_labels(corpus, "line_position")).float()
    rows = {tuple(row.tolist()): number for number, row in enumerate(corpus.tokens)}

    def plant(stream: torch.Tensor, hook: object, seen: list[int] = []) -> torch.Tensor:  # noqa: B006
        first = sum(seen)
        seen.append(len(stream))
        planted = stream.clone()
        planted[..., 40] = -labels[first : first + len(stream)] * 3 + 100
        planted[..., 41] = 1.0
        return planted

    assert len(rows) == len(corpus.tokens)
    with lstm.hooks([("blocks.1.hook_resid_post", plant)]):
        table = cells_that_follow(lstm, corpus, "line_position", "resid_post", 1)
    first = table.iloc[0]
    assert (first["unit"], first["follows"]) == (40, True)
    assert first["correlation"] == pytest.approx(-1, abs=1e-5)
    assert np.isnan(table.set_index("unit").loc[41, "correlation"])  # constant


def test_correlations_are_pearsons(lstm: HookedModel, corpus: Corpus) -> None:
    table = cells_that_follow(lstm, corpus, "word_position", "z", 2, batch=5).sort_values("unit")
    _, cache = lstm.run_with_cache(corpus.tokens, names_filter="blocks.2.mixer.hook_z")
    values = cache["blocks.2.mixer.hook_z"].detach().flatten(2).flatten(0, 1).numpy().astype(float)
    labels = token_labels(corpus, "word_position").reshape(-1)
    expected = [np.corrcoef(column, labels)[0, 1] for column in values.T]
    np.testing.assert_allclose(table["correlation"], expected, atol=1e-5)
    assert ((table["low"] < table["correlation"]) & (table["correlation"] < table["high"])).all()


def test_nothing_follows_labels_drawn_by_lot(lstm: HookedModel, corpus: Corpus) -> None:
    def lot(text: str) -> list[bool]:
        return (np.random.default_rng(0).random(len(text)) < 0.5).tolist()

    assert cells_that_follow(lstm, corpus, lot, "z")["follows"].sum() <= 2


def test_a_cell_is_drawn_token_by_token_and_its_text_is_inert(lstm: HookedModel) -> None:
    tokens, values = cell_values(lstm, 'a <b>"\nend', "z", 1, 3)
    _, cache = lstm.run_with_cache('a <b>"\nend', names_filter="blocks.1.mixer.hook_z")
    np.testing.assert_allclose(values, cache["blocks.1.mixer.hook_z"][0, :, 3, 0].detach(), rtol=1e-5)
    figure = plot_cell(tokens, values, a_line=4)
    (heat,) = figure.data
    shown = [text for line in heat.text for text in line if text]
    assert len(shown) == len(tokens)
    assert all(len([text for text in line if text]) <= 4 for line in heat.text)
    assert not any("<" in text for text in shown) and any("&lt;" in text for text in shown)
    np.testing.assert_allclose(heat.z[~np.isnan(heat.z)], values, rtol=1e-6)


def test_what_makes_no_sense_is_refused(lstm: HookedModel, corpus: Corpus) -> None:
    with pytest.raises(InputError, match="No predicate is called 'quotes'"):
        cells_that_follow(lstm, corpus, "quotes")
    with pytest.raises(InputError, match="0 at every token"):
        cells_that_follow(lstm, corpus, "is_digit")
    with pytest.raises(InputError, match="no text, only tokens"):
        token_labels(token_corpus(corpus.tokens), "is_digit")
    with pytest.raises(InputError, match="one number or boolean a character"):
        token_labels(corpus, lambda text: [True])
    with pytest.raises(InputError, match="at least two"):
        read_corpus(lstm, "")
    with pytest.raises(InputError, match="units 0 to 191"):
        cell_values(lstm, "a b", "z", 0, 500)
    with pytest.raises(InputError, match="2 values for 1 tokens"):
        plot_cell(["a"], np.zeros(2))
