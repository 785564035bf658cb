"""Lists, orders and counts in words: every answer is computed again from the text that the model reads."""

from __future__ import annotations

import calendar
import datetime
import re
from typing import Any

import pytest
import torch

import workbench as wb
from tests.workbench.text_task_cases import answers, piece, read
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.tasks import (
    ORDINAL_CLASSES,
    Task,
    laundry_list,
    list_recall,
    make_task,
    modular_addition,
    repeat_surprisal,
    repeated_noun_list,
    score_model,
)

NUMBERS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip


@pytest.fixture(scope="module")
def zoo() -> HookedModel:
    return wb.load("zoo:attention", check=False)


@pytest.mark.parametrize("second", ["same", "permuted", "new"])
def test_the_second_list_is_the_first_a_permutation_or_another(zoo: HookedModel, second: str) -> None:
    task = repeated_noun_list(zoo, 4, second=second, batch=5, gap=40, seed=7)
    for row in range(task.batch):
        first, again = (
            found.split(", ") for found in re.findall(r"words(?: again)?: ([a-z, ]+)\.", read(task, zoo.tokenizer, row))
        )
        runs = answers(task, zoo.tokenizer, row)
        assert [run.answer.strip() for run in runs if run.label == "first"] == first
        assert [run.answer.strip() for run in runs if run.label == "second"] == again
        assert len(set(first)) == 4
        assert (again == first, sorted(again) == sorted(first), set(again) & set(first) == set()) == {
            "same": (True, True, False),
            "permuted": (False, True, False),
            "new": (False, False, True),
        }[second]
        # Only what is the same can be looked up.
        assert [run.source for run in runs if run.label == "second"] == (
            [run.answer for run in runs if run.label == "second"] if second == "same" else [None] * 4
        )
    assert [read(task, zoo.tokenizer, 0).split("again:")[0]] == [
        read(repeated_noun_list(zoo, 4, batch=5, gap=40, seed=7), zoo.tokenizer, 0).split("again:")[0]
    ]


def test_repeat_surprisal_is_the_share_of_the_first_lists_loss(zoo: HookedModel) -> None:
    scores = score_model(zoo, repeated_noun_list(zoo, 4, batch=5, seed=7))
    labels = scores.task.labels
    shares = [
        float(scores.loss[row][labels[row] == 1].mean() / scores.loss[row][labels[row] == 0].mean()) for row in range(5)
    ]
    found = repeat_surprisal(scores)
    assert found.mean == pytest.approx(sum(shares) / 5, rel=1e-5)
    assert found.low < found.mean < found.high < 1  # zoo:attention copies
    with pytest.raises(InputError, match=r"'repeated_noun_list', and these are of 'laundry_list'"):
        repeat_surprisal(score_model(zoo, laundry_list(zoo, batch=2)))


@pytest.mark.parametrize("ask", ["one", "all"])
def test_recalled_words_are_those_of_their_number(zoo: HookedModel, ask: str) -> None:
    task = list_recall(zoo, 5, ask=ask, batch=10, repeats=2, seed=1)
    asked = []
    for row in range(task.batch):
        learned, questions = read(task, zoo.tokenizer, row).split("\nNow ")
        words = dict(re.findall(r"Word (\d) is (\w+)\.", learned))
        assert len(re.findall(r"Word 3 is", learned)) == 2 and len(set(words.values())) == 5
        runs = answers(task, zoo.tokenizer, row)
        assert {run.label: run.answer.strip() for run in runs} == {
            f"item_{number}": words[number] for number in re.findall(r"Word (\d) is", questions)
        }
        # The last reading is the nearest place to look at.
        assert all(run.source == run.answer for run in runs)
        assert int(task.sources[row].max()) > len(zoo.tokenizer.encode(learned.split("once more")[0]))
        asked += [run.label for run in runs]
    assert all(asked.count(f"item_{number}") == (2 if ask == "one" else 10) for number in range(1, 6))


def test_what_is_left_is_what_was_not_cleaned(zoo: HookedModel) -> None:
    task = laundry_list(zoo, 3, batch=6, seed=4)
    for row in range(task.batch):
        items, done = (
            re.findall(r"the (\w+)", found)
            for found in re.findall(r"(?:to clean|has cleaned) ([a-z, ]+)\.", read(task, zoo.tokenizer, row))
        )
        (run,) = answers(task, zoo.tokenizer, row)
        assert [run.answer.strip()] == [item for item in items if item not in done]
        assert run.label == f"place_{items.index(run.answer.strip()) + 1}" == f"place_{row % 3 + 1}"
        assert run.source == run.answer and len(done) == 2


def test_a_successor_is_what_the_calendar_and_arithmetic_say(zoo: HookedModel) -> None:
    def successor(word: str) -> str:
        for names in (list(calendar.day_name), list(calendar.month_name)[1:]):
            if word in names:
                return names[(names.index(word) + 1) % len(names)]
        if word.isdigit():
            return str(int(word) + 1)
        return NUMBERS[NUMBERS.index(word) + 1] if word in NUMBERS else chr(ord(word) + 1)

    for run in (1, 3):
        task = make_task("ordinals", zoo, run=run, batch=6, seed=2)
        for row in range(task.batch):
            shown = [segment.split(", ") for segment in read(task, zoo.tokenizer, row).rstrip(".").split(". ")]
            found = answers(task, zoo.tokenizer, row)
            assert {each.label for each in found} == set(ORDINAL_CLASSES) and len(shown) == 5
            for words, each in zip(shown, found, strict=True):
                assert each.answer.strip() == words[-1] and len(words) == run + 1
                assert [successor(word) for word in words[:-1]] == words[1:]
                assert piece(task, zoo.tokenizer, each.label, row) == words[-2]
                assert each.source is None
    months = ORDINAL_CLASSES["months"]
    assert months.successor("December") == "January" and ORDINAL_CLASSES["letters"].successor("Z") is None
    assert len(months.pairs()) == 12 and len(ORDINAL_CLASSES["numbers"].pairs()) == 99
    only = make_task("ordinals", zoo, classes="months, weekdays", batch=2)
    assert only.label_names == ("months", "weekdays")


@pytest.mark.parametrize("unit", ["weekdays", "months"])
def test_dates_are_those_of_the_calendar(zoo: HookedModel, unit: str) -> None:
    names = list(calendar.day_name) if unit == "weekdays" else list(calendar.month_name)[1:]
    task = make_task("calendar", zoo, unit=unit, examples=2, batch=12, seed=3)
    for row in range(task.batch):
        lines = re.findall(r"(\w+) (?:day|month)s? after (\w+) is (\w+)", read(task, zoo.tokenizer, row))
        assert len(set(lines)) == 3
        for count, start, found in lines:
            steps = NUMBERS.index(count.lower()) + 1
            if unit == "weekdays":
                monday = datetime.date(2024, 1, 1)
                day = monday + datetime.timedelta(days=names.index(start) + steps)
                assert found == names[day.weekday()]
            else:
                assert found == names[(names.index(start) + steps) % 12]
        (run,) = answers(task, zoo.tokenizer, row)
        assert run.answer.strip() == lines[-1][2]
        assert piece(task, zoo.tokenizer, "start", row) == lines[-1][1]
        assert piece(task, zoo.tokenizer, "steps", row) == lines[-1][0]


def test_sums_are_modulo_p_in_words_and_in_bare_ids(zoo: HookedModel) -> None:
    task = make_task("modular_addition", zoo, modulus=7, examples=2, batch=8, seed=1)
    for row in range(task.batch):
        lines = re.findall(r"\((\d+) \+ (\d+)\) mod 7 = (\d+)", read(task, zoo.tokenizer, row))
        assert len(lines) == 3 and all((int(a) + int(b)) % 7 == int(c) for a, b, c in lines)
        (run,) = answers(task, zoo.tokenizer, row)
        assert int(run.answer) == int(lines[-1][2])
    bare = modular_addition(20, 7, examples=1, batch=200, seed=1, bos=19)
    assert isinstance(bare, Task) and bare.tokens.shape == (200, 9)
    a, b, equals, c = bare.tokens[:, 5:].unbind(1)
    assert torch.equal((a + b) % 7, c) and set(equals.tolist()) == {7} and set(bare.tokens[:, 0].tolist()) == {19}
    assert torch.equal(bare.answers[:, 0], c) and bare.positions.unique().tolist() == [7]
    assert bare.distractors is not None
    assert torch.equal(
        bare.distractors[:, 0].sort(-1).values, torch.stack([(c - 1) % 7, (c + 1) % 7], -1).sort(-1).values
    )
    with pytest.raises(InputError, match="8 symbols cannot be drawn from 7"):
        modular_addition(7, 7)


@pytest.mark.parametrize(("group", "separator"), [(0, " "), (1, " "), (2, "-")])
def test_counts_are_right_however_the_string_is_cut(zoo: HookedModel, group: int, separator: str) -> None:
    options = {"length": 9, "letters": "xyz", "examples": 1, "batch": 8, "seed": 6}
    task = make_task("counting_characters", zoo, group=group, separator=separator, **options)
    plain = make_task("counting_characters", zoo, **options)
    for row in range(task.batch):
        strings = re.findall(r"string\?\n(.*)\nAnswer: (\d+)", read(task, zoo.tokenizer, row))
        assert len(strings) == 2 and all(string.count("x") == int(count) for string, count in strings)
        string = strings[-1][0]
        assert string.replace(separator, "") == piece(plain, zoo.tokenizer, "string", row)
        assert {len(part) for part in string.split(separator)} <= ({9} if group == 0 else {group, 9 % group or group})
        (run,) = answers(task, zoo.tokenizer, row)
        assert int(run.answer) == string.count("x")


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("repeated_noun_list", {"items": 1}, "items is 1"),
        ("repeated_noun_list", {"items": 60}, "120 different nouns are needed"),
        ("repeated_noun_list", {"second": "other"}, "second is 'other'"),
        ("list_recall", {"ask": "two"}, "ask is 'two'"),
        ("list_recall", {"repeats": 0}, "repeats is 0"),
        ("laundry_list", {"items": 1}, "items is 1"),
        ("ordinals", {"run": 6}, "run is 6; the shortest class has 7 words"),
        ("ordinals", {"classes": "moths"}, "No class of ordinals is called 'moths'; there is: numbers, .*months"),
        ("calendar", {"unit": "years"}, "unit is 'years'"),
        ("calendar", {"examples": 42}, "examples is 42; there are 41 other questions"),
        ("modular_addition", {"modulus": 2}, "modulus is 2"),
        ("counting_characters", {"letters": "aa"}, "letters is 'aa'"),
        ("counting_characters", {"group": -1}, "group is -1"),
        ("two_hop", {"chains": 21}, "chains is 21; there are 20"),
        ("two_hop", {"ask": "three"}, "ask is 'three'"),
        ("reversal", {"facts": 13}, "facts is 13; there are 12"),
        ("repetition", {"repeats": 1}, "repeats is 1"),
        ("knowledge_conflict", {"relation": "colour"}, "relation is 'colour'"),
        ("quirky_answers", {"batch": 3}, "batch is 3; quirky answers come in pairs"),
        ("quirky_answers", {"error": 0}, "error other than 0"),
        ("garden_paths", {"batch": 5}, "batch is 5"),
        ("garden_paths", {"kind": "relative", "batch": 18}, "'relative' has 8 pairs"),
        ("garden_paths", {"kind": "long"}, "kind is 'long'"),
        ("order_recall", {"segments": 1}, "segments is 1"),
    ],
)
def test_options_out_of_range_get_a_sentence(
    zoo: HookedModel, name: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        make_task(name, zoo, **options)
