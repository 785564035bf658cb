"""What a list says of a feature without a label: words in which it is highest."""

import pytest

from workbench.app.views.features.stores import open_store
from workbench.app.views.features.words import AROUND, EXAMPLES, WORDS, distinct, peak_words, word_around

TOKENS = ["ing", " went", " to", " V", "ice", "nza", ",", " U", ".", "S", ".", "\n", "So"]


@pytest.fixture
def opened(hostile_store):
    plan, workspace = hostile_store
    return open_store(workspace.root / plan.name)


def test_a_piece_is_shown_in_its_word_and_a_mark_with_the_word_before_it():
    shown = {0: "ing", 1: "went", 3: "Vicenza", 4: "Vicenza", 6: "Vicenza,", 8: "U.S", 11: "U.S.", 12: "So"}
    assert {at: word_around(TOKENS, at) for at in shown} == shown
    assert word_around(["\n"], 0) == "\n" and word_around(["", "é"], 0) == "é"


def test_words_that_differ_only_in_case_are_one():
    assert distinct(["So", "so", "society", "SO", "a", "b", "c"]) == ["So", "society", "a", "b"]


def test_words_are_those_of_the_strongest_examples_and_the_label_stands_before_them(opened):
    feature = opened.telling
    dead = int(opened.store.features().query("dead")["feature"].iloc[0])
    expected = []
    for one in opened.store.examples(feature, "top", EXAMPLES):
        first = max(0, one.peak - AROUND)
        expected.append(word_around(one.tokens[first : one.peak + AROUND + 1], one.peak - first))
    assert peak_words(opened.store, [feature, dead]) == {feature: distinct(expected)}
    assert opened.names([dead, feature]) == {dead: "dead", feature: " · ".join(distinct(expected))}
    assert 0 < len(distinct(expected)) <= WORDS
