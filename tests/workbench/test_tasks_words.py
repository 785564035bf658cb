"""Tasks made of words: every answer is computed again from the text that the model reads."""

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
    garden_path_effect,
    laundry_list,
    list_recall,
    make_task,
    modular_addition,
    repeat_surprisal,
    repeated_noun_list,
    repetition,
    score_model,
    self_reinforcement,
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


def test_both_hops_and_their_composition_follow_from_the_facts(zoo: HookedModel) -> None:
    task = make_task("two_hop", zoo, chains=3, batch=9, seed=5)
    for row in range(task.batch):
        said, asked = read(task, zoo.tokenizer, row).split("\nQuestion: ")
        owner = dict(re.findall(r"The owner of the (\w+) is (\w+)", said))
        city = dict(re.findall(r"(\w+) lives in (\w+)", said))
        assert len(owner) == len(city) == 3 and set(owner.values()) == set(city)
        (run,) = answers(task, zoo.tokenizer, row)
        subject, bridge = (piece(task, zoo.tokenizer, name, row) for name in ("subject", "bridge"))
        assert owner[subject] == bridge == piece(task, zoo.tokenizer, "bridge_again", row)
        expected, line = {
            "first_hop": (bridge, f"Who is the owner of the {subject}?\nAnswer: The owner of the {subject} is"),
            "second_hop": (city[bridge], f"Where does {bridge} live?\nAnswer: {bridge} lives in"),
            "two_hops": (
                city[bridge],
                f"Where does the owner of the {subject} live?\nAnswer: The owner of the {subject} lives in",
            ),
        }[run.label]
        assert run.label == task.label_names[row % 3]
        assert asked == f"{line} {expected}" and run.answer == run.source == f" {expected}"
        if run.label == "first_hop":
            assert task.sources[row, 0] == task.pieces["bridge"][row, 0]
        assert task.text is not None and said == task.text[row - row % 3].split("\n")[0]


def test_the_reverse_question_asks_for_the_name_of_a_description(zoo: HookedModel) -> None:
    task = make_task("reversal", zoo, facts=3, batch=6, seed=5)
    for row in range(task.batch):
        said, question, line = read(task, zoo.tokenizer, row).rstrip(".").split("\n")
        title = dict(fact.split(" is ") for fact in said.rstrip(".").split(". ")[1:])
        (run,) = answers(task, zoo.tokenizer, row)
        asked = line.removeprefix("Answer: ").removesuffix(f" is{run.answer}")
        assert len(title) == 3 and question.lower() == f"question: who is {asked}?".lower()
        if run.label == "forward":
            assert title[asked] == run.answer.strip()
        else:
            assert title[run.answer.strip()].lower() == asked.lower()
        assert run.source == run.answer and run.label == ("forward", "reverse")[row % 2]


@pytest.mark.parametrize("unit", ["word", "sentence", "paragraph", "Round and round it goes."])
def test_copies_are_copies_of_the_one_before(zoo: HookedModel, unit: str) -> None:
    task = repetition(zoo, 3, unit=unit, batch=3, seed=2)
    for row in range(task.batch):
        first, second, third = answers(task, zoo.tokenizer, row)
        assert (first.label, second.label, third.label) == task.label_names
        assert first.answer == second.answer == third.answer == second.source == third.source
        assert first.source is None
        count = {"word": 0, "sentence": 1, "paragraph": 4}.get(unit, 1)
        assert first.answer.count(".") == count and (
            unit in ("word", "sentence", "paragraph") or first.answer[1:] == unit
        )
        # Each copy looks at the one right before it.
        third_at, second_at = (task.sources[row][task.labels[row] == label] for label in (2, 1))
        assert torch.equal(third_at, task.positions[row][task.labels[row] == 1] + 1)
        assert torch.equal(second_at, task.positions[row][task.labels[row] == 0] + 1)


def test_the_self_reinforcement_curve_is_that_of_the_tokens_probabilities(zoo: HookedModel) -> None:
    task = repetition(zoo, 3, batch=3, seed=2)
    curve = self_reinforcement(score_model(zoo, task)).set_index("copy")
    probability: dict[int, list[torch.Tensor]] = {1: [], 2: [], 3: []}
    best: dict[int, list[torch.Tensor]] = {1: [], 2: [], 3: []}
    for row in range(3):
        ids = torch.tensor([zoo.tokenizer.encode(read(task, zoo.tokenizer, row))])
        logits = zoo(ids).detach()[0]
        size = len(zoo.tokenizer.encode(answers(task, zoo.tokenizer, row)[0].answer))
        after = logits[:-1].softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        likeliest = logits[:-1].argmax(-1) == ids[0, 1:]
        for copy in (1, 2, 3):  # The last tokens of the text are the copies, one after the other.
            place = slice(len(after) - (4 - copy) * size, len(after) - (3 - copy) * size)
            probability[copy].append(after[place])
            best[copy].append(likeliest[place].double())
    for copy in (1, 2, 3):
        means = [float(each.mean()) for each in probability[copy]]
        assert curve.loc[copy, "probability"] == pytest.approx(sum(means) / 3, abs=1e-4)
        assert curve.loc[copy, "winner"] == pytest.approx(sum(float(each.mean()) for each in best[copy]) / 3, abs=1e-6)
    more = [float((now > first).double().mean()) for now, first in zip(probability[3], probability[1], strict=True)]
    assert curve.loc[3, "increased"] == pytest.approx(sum(more) / 3, abs=0.02) and sum(more) / 3 > 0.8
    assert curve["increased"].isna().tolist() == [True, False, False]
    with pytest.raises(InputError, match="self_reinforcement needs scores of 'repetition'"):
        self_reinforcement(score_model(zoo, laundry_list(zoo, batch=2)))


def test_a_counterfact_in_context_is_the_answer_and_the_fact_the_wrong_one(zoo: HookedModel) -> None:
    task = make_task("knowledge_conflict", zoo, relation="opposite", batch=9, gap=20, seed=0)
    for triple in range(0, 9, 3):
        runs = [answers(task, zoo.tokenizer, row)[0] for row in range(triple, triple + 3)]
        subjects = {piece(task, zoo.tokenizer, "subject", row) for row in range(triple, triple + 3)}
        assert len(subjects) == 1
        (subject,) = subjects
        none, fact, counter = runs
        assert none.answer == fact.answer != counter.answer and none.source is None
        assert fact.source == fact.answer and counter.source == counter.answer
        for row, run in zip(range(triple, triple + 3), runs, strict=True):
            text = read(task, zoo.tokenizer, row)
            said = re.findall(rf"The opposite of {subject} is (\w+)\.", text)
            assert said == [run.answer.strip()] * (1 if run.label == "none" else 2)
        assert task.distractors is not None
        wrong = task.distractors[triple + 2].flatten()
        assert zoo.tokenizer.encode(fact.answer)[int((wrong >= 0).nonzero()[0])] == wrong[wrong >= 0].item()


def test_the_quirky_speaker_is_always_wrong_by_the_same_amount(zoo: HookedModel) -> None:
    task = make_task("quirky_answers", zoo, examples=5, error=3, largest=20, batch=6, seed=2, names=("Ann", "Tom"))
    for row in range(task.batch):
        text = read(task, zoo.tokenizer, row)
        sums = re.findall(r"(\d+) \+ (\d+) = \? (\w+): (\d+)", text)
        assert len(sums) == 6 and {name for _, _, name, _ in sums} == {"Ann", "Tom"}
        assert all(int(c) - int(a) - int(b) == {"Ann": 0, "Tom": 3}[name] for a, b, name, c in sums)
        (run,) = answers(task, zoo.tokenizer, row)
        assert run.label == ("right", "quirky")[row % 2] and run.answer.strip() == sums[-1][3]
        assert piece(task, zoo.tokenizer, "trigger", row) == sums[-1][2] == ("Ann", "Tom")[row % 2]
        if row % 2:
            assert text.rsplit("?", 1)[0] == read(task, zoo.tokenizer, row - 1).rsplit("?", 1)[0]


def test_the_earlier_sentence_is_the_one_that_is_offered_under_the_answers_letter(zoo: HookedModel) -> None:
    task = make_task("order_recall", zoo, segments=3, examples=1, batch=8, seed=2)
    letters = []
    for row in range(task.batch):
        blocks = read(task, zoo.tokenizer, row).split("\n\n")
        for block in blocks:
            body, _, first, second, said = block.split("\n")
            offered = {"A": first.removeprefix("A: "), "B": second.removeprefix("B: ")}
            earlier = min(offered, key=lambda letter: body.index(offered[letter]))
            assert said == f"Answer: {earlier}" and len(set(offered.values())) == 2
        (run,) = answers(task, zoo.tokenizer, row)
        places = {letter: re.split(r"(?<=\.) ", body).index(sentence) for letter, sentence in offered.items()}
        assert run.answer.strip() == earlier and run.label == f"apart_{abs(places['A'] - places['B'])}"
        assert piece(task, zoo.tokenizer, "first", row) == offered[earlier]
        letters.append((run.label, earlier))
    # Nothing but the order tells the letter.
    assert all(letters.count((f"apart_{d}", letter)) == 2 for d in (1, 2) for letter in "AB")


def test_the_garden_path_effect_is_the_difference_at_the_same_word(zoo: HookedModel) -> None:
    task = make_task("garden_paths", zoo, batch=8, seed=1)
    surprisal = []
    for row in range(task.batch):
        (run,) = answers(task, zoo.tokenizer, row)
        before, after = read(task, zoo.tokenizer, row, run.first), run.answer
        logits = zoo(torch.tensor([zoo.tokenizer.encode(before + after)])).detach()[0].log_softmax(-1)
        cut = len(zoo.tokenizer.encode(before))
        surprisal.append(-sum(float(logits[cut - 1 + k, t]) for k, t in enumerate(zoo.tokenizer.encode(after))))
        if row % 2:
            ambiguous = answers(task, zoo.tokenizer, row - 1)[0]
            assert (ambiguous.label, run.label, run.answer) == ("ambiguous", "control", ambiguous.answer)
            rest = read(task, zoo.tokenizer, row).removeprefix(before)
            assert read(task, zoo.tokenizer, row - 1).endswith(rest)
            assert len(before) > len(piece(task, zoo.tokenizer, "beginning", row - 1))
    effect = garden_path_effect(score_model(zoo, task))
    expected = sum(surprisal[0::2]) / 4 - sum(surprisal[1::2]) / 4
    assert effect.mean == pytest.approx(expected, abs=1e-4)
    every = make_task("garden_paths", zoo, batch=52)
    assert every.text is not None and len(set(every.text)) == 52
    with pytest.raises(InputError, match="garden_path_effect needs scores of 'garden_paths'"):
        garden_path_effect(score_model(zoo, laundry_list(zoo, batch=2)))


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
        ("ordinals", {"classes": "moths"}, "No class of ordinals is called 'moths'; there is: months"),
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
