"""Whole answers, token for token: counted by hand, and against what the model writes when it is let go."""

from __future__ import annotations

import pytest
import torch

import workbench as wb
from workbench.tasks import make_task, score_logits, score_model
from workbench.tasks.base import NOT_SCORED, Task


def test_an_answer_counts_once_and_only_if_all_of_its_tokens_are_right() -> None:
    task = Task(
        name="by hand",
        tokens=torch.tensor([[0, 1, 2, 3, 4, 5]] * 2),
        positions=torch.tensor([[0, 1, 3, 4], [0, 1, 2, 0]]),
        answers=torch.tensor([[1, 2, 4, 5], [1, 2, 3, 0]]),
        sources=torch.full((2, 4), -1),
        labels=torch.tensor([[0, 0, 1, 1], [0, 0, 0, NOT_SCORED]]),
        label_names=("name", "number"),
        answer_numbers=torch.tensor([[0, 0, 1, 1], [0, 0, 0, -1]]),
    )
    logits = torch.zeros(2, 6, 6)
    # The first answer is right to the last token, the second in half, the third but for its last token.
    for row, position, token in ((0, 0, 1), (0, 1, 2), (0, 3, 4), (0, 4, 0), (1, 0, 1), (1, 1, 2), (1, 2, 5)):
        logits[row, position, token] = 1
    scores = score_logits(logits, task)
    assert scores.per_sequence("exact_match").tolist() == [0.5, 0]
    assert scores.per_sequence("exact_match", "name").tolist() == [1, 0]
    assert scores.per_sequence("accuracy").tolist() == pytest.approx([0.75, 2 / 3])
    table = scores.table().set_index(["label", "measure"])
    assert table.loc[("number", "exact_match"), "mean"] == 0 and not table.loc[("name", "exact_match"), "continuous"]
    assert table.loc[("number", "exact_match"), "n"] == 1


def test_answers_of_one_token_have_no_exact_match_beside_their_accuracy() -> None:
    model = wb.load("zoo:attention", check=False)
    scores = score_model(model, make_task("associative_recall", model, batch=2))
    assert "exact_match" not in scores.measures and scores.exact is None


@pytest.mark.parametrize("name", ["passkey", "needle"])
def test_an_exact_match_is_what_greedy_generation_writes(name: str) -> None:
    model = wb.load("zoo:attention", check=False)
    options = {"passkey": {"length": 64, "digits": 2}, "needle": {"length": 96}}[name]
    task = make_task(name, model, batch=16, seed=1, **options)
    exact = score_model(model, task).per_sequence("exact_match")
    right = []
    for row in range(task.batch):
        own = task.positions[row][task.labels[row] != NOT_SCORED]
        first, last = int(own[0]), int(own[-1])
        text = task.tokens[row, : last + 2]
        text = text[0 if task.mask is None else int((task.mask[row] == 0).sum()) :]
        asked = text[: len(text) - (last - first + 1)]
        written = model.generate(asked[None], last - first + 1, temperature=0.0, return_type="tokens")[0]
        right.append(float(torch.equal(written[-(last - first + 1) :], text[len(asked) :])))
    assert exact.tolist() == right
    if name == "passkey":
        assert 0 < sum(right) < task.batch
