"""Facts, copies, speakers and sentences in words: every answer is computed again from the text that the model reads."""

from __future__ import annotations

import re

import pytest
import torch

import workbench as wb
from tests.workbench.text_task_cases import answers, piece, read
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.tasks import (
    garden_path_effect,
    laundry_list,
    make_task,
    repetition,
    score_model,
    self_reinforcement,
)


@pytest.fixture(scope="module")
def zoo() -> HookedModel:
    return wb.load("zoo:attention", check=False)


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
