"""Passkey and needle: what is asked stands once in the text, where and as far away as was asked for."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

import workbench as wb
from tests.workbench.text_task_cases import answers, piece, read
from workbench.errors import InputError
from workbench.tasks import Vocabulary, needle, passkey
from workbench.tasks.filler import fill, sentences, split_sentences


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return wb.load("zoo:attention", check=False).tokenizer


def test_the_number_is_said_once_and_asked_for_at_the_end(tokenizer: Any) -> None:
    task = passkey(tokenizer, 300, batch=5, digits=6, depth=0.3, seed=2)
    for row in range(task.batch):
        text = read(task, tokenizer, row)
        (said,) = re.findall(r"The pass key is (\d+)\.", text)
        (run,) = answers(task, tokenizer, row)
        assert run.answer.strip() == said and len(said) == 6
        assert text.endswith(f"What is the pass key? The pass key is {said}")
        assert read(task, tokenizer, row, run.first).rstrip(" ").endswith("What is the pass key? The pass key is")
        # All tokens of the number can be found in the needle: this is what a retrieval head is scored on.
        assert run.source == run.answer
        assert piece(task, tokenizer, "needle", row) == f"The pass key is {said}."
        assert piece(task, tokenizer, "value", row) == said
        start, stop = task.pieces["value"][row].tolist()
        spaces = {place for place in range(start, stop) if tokenizer.decode([int(task.tokens[row, place])]) == " "}
        found = set(task.sources[row][task.labels[row] >= 0].tolist())
        assert set(range(start, stop)) - spaces <= found <= set(range(start, stop))


@pytest.mark.parametrize("generator", [passkey, needle])
@pytest.mark.parametrize("depth", [0.0, 0.25, 1.0])
def test_depth_is_the_share_of_filler_before_the_needle(tokenizer: Any, generator: Any, depth: float) -> None:
    task = generator(tokenizer, 400, batch=3, depth=depth, seed=1)
    for row in range(task.batch):
        text = read(task, tokenizer, row)
        hidden = piece(task, tokenizer, "needle", row)
        before, after = text.split(hidden)
        hay_before = len(
            split_sentences(before.removeprefix("Somewhere in this text there is a pass key. Remember it."))
        )
        hay_after = len(split_sentences(after.split("\n")[0]))
        assert hay_before == round(depth * (hay_before + hay_after))
        assert hay_before + hay_after > 10


@pytest.mark.parametrize("filler", ["repeated", "varied", "One thing. Another thing happened! Was it so? It was."])
def test_the_length_is_reached_but_for_one_sentence(tokenizer: Any, filler: str) -> None:
    for length in (150, 333):
        task = needle(tokenizer, length, batch=4, filler=filler)
        sizes = [task.time] if task.mask is None else task.mask.sum(1).tolist()
        assert all(length - 40 < size <= length for size in sizes)


def test_other_needles_are_there_and_are_the_wrong_answers(tokenizer: Any) -> None:
    task = needle(tokenizer, 400, batch=4, others=3, depth=None, seed=5)
    depths = set()
    for row in range(task.batch):
        text = read(task, tokenizer, row)
        facts = dict(re.findall(r"The best thing to do in (\w+) is to ([a-z ]+)\.", text))
        (place,) = re.findall(r"What is the best thing to do in (\w+)\?", text)
        (run,) = answers(task, tokenizer, row)
        assert len(facts) == 4 and run.answer.strip() == facts[place] and run.source == run.answer
        assert task.distractors is not None
        wrong = {token for token in task.distractors[row].flatten().tolist() if token >= 0}
        heads = {place: tokenizer.encode(f" {fact}")[0] for place, fact in facts.items()}
        assert {heads[other] for other in facts if other != place and heads[other] != heads[place]} <= wrong
        depths.add(text.index(facts[place]))
    assert len(depths) > 1  # depth=None draws one for every sequence


def test_fillers_differ_in_how_much_they_repeat(tokenizer: Any) -> None:
    def unlike(kind: str) -> int:
        return len(set(fill(kind, random.Random(0), Vocabulary.of(tokenizer), 1500)))

    assert unlike("repeated") == 5
    assert unlike("varied") > 50
    own = "It rained. We stayed.\nNobody came? We slept!"
    drawn = sentences(own, random.Random(3))
    start = next(drawn)
    turn = ["It rained.", "We stayed.", "Nobody came?", "We slept!"]
    first = turn.index(start)
    assert [next(drawn) for _ in range(5)] == [turn[(first + step) % 4] for step in range(1, 6)]


def test_what_cannot_be_hidden_gets_a_sentence(tokenizer: Any) -> None:
    for options, sentence in (
        ({"length": 20}, "length is 20; task 'passkey' needs .* tokens without any filler"),
        ({"depth": 1.5}, "depth is 1.5"),
        ({"digits": 0}, "digits is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"filler": "variied"}, "filler is 'variied'; it must be 'repeated', 'varied'"),
    ):
        with pytest.raises(InputError, match=sentence):
            passkey(tokenizer, **options)
    with pytest.raises(InputError, match="others is 15; there are facts about 14"):
        needle(tokenizer, others=15)
    with pytest.raises(InputError, match=r"'passkey' has .* tokens at these sizes, and the model reads at most 100"):
        passkey(Vocabulary(2048, tokenizer=tokenizer, context=100), 200)
