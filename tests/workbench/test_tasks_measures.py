"""The measures of a task, against their definitions written out a number at a time, and on padded sequences."""

import math
from typing import Any

import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.tasks import (
    NOT_SCORED,
    Task,
    TaskScores,
    evaluate,
    make_task,
    score_logits,
    score_model,
    score_predictions,
    sweep,
)

VOCABULARY = 7


def small_task(**changes: Any) -> Task:
    parts: dict[str, Any] = {
        "name": "made_up",
        "tokens": torch.tensor([[0, 1, 2], [3, 4, 5]]),
        "positions": torch.tensor([[0, 1], [1, 2]]),
        "answers": torch.tensor([[1, 2], [5, 6]]),
        "sources": torch.full((2, 2), -1),
        "labels": torch.tensor([[0, 1], [1, NOT_SCORED]]),
        "label_names": ("a", "b"),
        "distractors": torch.tensor([[[2, 3], [0, 1]], [[6, 4], [5, 0]]]),
        "outcomes": torch.tensor([1, 2, 5]),
        "probabilities": torch.tensor([[[1.0, 0, 0], [0.5, 0.25, 0.25]], [[0, 0.5, 0.5], [0.2, 0.3, 0.5]]]),
    }
    return Task(**{**parts, **changes})


def test_measures_are_what_their_definitions_say() -> None:
    task = small_task()
    assert task.distractors is not None and task.outcomes is not None and task.probabilities is not None
    logits = torch.randn(2, 3, VOCABULARY)
    scores = score_logits(logits, task)
    for row in range(2):
        for slot in range(2):
            at = logits[row, int(task.positions[row, slot])].tolist()
            answer = int(task.answers[row, slot])
            total = math.log(sum(math.exp(number) for number in at))
            wrong = [at[int(token)] for token in task.distractors[row, slot]]
            found = {name: float(values[row, slot]) for name, values in scores.measures.items()}
            assert found["loss"] == pytest.approx(total - at[answer], abs=1e-5)
            assert found["accuracy"] == float(at[answer] == max(at))
            assert found["logit_difference"] == pytest.approx(at[answer] - sum(wrong) / 2, abs=1e-5)
            assert found["preference"] == float(all(at[answer] > other for other in wrong))
            chances = dict(zip(task.outcomes.tolist(), task.probabilities[row, slot].tolist(), strict=True))
            divergence = sum(p * (math.log(p) - (at[token] - total)) for token, p in chances.items() if p > 0)
            assert found["divergence"] == pytest.approx(divergence, abs=1e-5)
            assert found["legality"] == float(chances.get(at.index(max(at)), 0) > 0)


def test_a_likeliest_token_that_is_no_outcome_or_cannot_come_is_not_legal() -> None:
    task = small_task()
    logits = torch.zeros(2, 3, VOCABULARY)
    logits[0, 0, 2] = 1  # an outcome of probability 0 there
    logits[0, 1, 4] = 1  # no outcome at all
    logits[1, 1, 5] = 1
    legal = score_logits(logits, task).legal
    assert legal is not None and legal.tolist()[0] == [False, False] and bool(legal[1, 0])


def test_a_tie_with_a_wrong_answer_is_no_preference() -> None:
    scores = score_logits(torch.zeros(2, 3, VOCABULARY), small_task())
    assert scores.preferred is not None and not bool(scores.preferred.any())


def test_a_prediction_that_rules_out_what_cannot_come_diverges_finitely() -> None:
    task = small_task()
    assert task.probabilities is not None
    scores = score_predictions(task.probabilities, task)
    assert scores.divergence is not None
    torch.testing.assert_close(scores.divergence, torch.zeros_like(scores.divergence), atol=1e-6, rtol=0)
    assert float(scores.loss[0, 0]) == 0
    assert float(scores.loss[0, 1]) == pytest.approx(math.log(4))


def test_the_exact_predictors_loss_is_the_entropy() -> None:
    task = make_task("hidden_markov", 20, batch=200, time=100)
    assert task.probabilities is not None
    entropy = -torch.special.xlogy(task.probabilities, task.probabilities).sum(-1).mean()
    _, low, high = score_predictions(task.probabilities, task).interval("loss")
    assert low < float(entropy) < high
    assert high - low < 0.03


def test_predictions_without_a_place_get_a_sentence() -> None:
    with pytest.raises(InputError, match="does not say which tokens can come"):
        score_predictions(torch.ones(2, 2, 3), small_task(outcomes=None, probabilities=None))
    with pytest.raises(InputError, match=r"shape \(2, 2, 4\) are not of the task's shape \(2, 2, 3\)"):
        score_predictions(torch.ones(2, 2, 4), small_task())


def test_a_table_has_a_row_a_label_and_measure_and_counts_sequences_that_have_it() -> None:
    logits = torch.randn(2, 3, VOCABULARY)
    scores = score_logits(logits, small_task())
    table = scores.table()
    assert table.columns.tolist() == ["task", "label", "measure", "continuous", "mean", "low", "high", "n"]
    assert table["label"].tolist() == ["a"] * 6 + ["b"] * 6
    by = table.set_index(["label", "measure"])
    assert by.loc[("a", "loss"), "n"] == 1 and by.loc[("b", "loss"), "n"] == 2
    assert by.loc[("a", "loss"), "mean"] == pytest.approx(float(scores.loss[0, 0]))
    assert by.loc[("b", "loss"), "mean"] == pytest.approx(float(scores.loss[0, 1] + scores.loss[1, 0]) / 2)
    continuous = table.set_index("measure")["continuous"].groupby("measure").all()
    assert continuous[continuous].index.tolist() == ["divergence", "logit_difference", "loss"]


def test_a_label_that_no_sequence_has_is_left_out() -> None:
    task = small_task(labels=torch.tensor([[1, 1], [1, NOT_SCORED]]))
    assert set(score_logits(torch.zeros(2, 3, VOCABULARY), task).table()["label"]) == {"b"}


def test_slots_that_do_not_count_count_for_nothing() -> None:
    task = small_task()
    logits = torch.randn(2, 3, VOCABULARY)
    other = logits.clone()
    other[1, 2] = torch.randn(VOCABULARY)
    assert score_logits(logits, task).table().equals(score_logits(other, task).table())


@pytest.fixture(scope="module")
def attention() -> HookedModel:
    return wb.load("zoo:attention")


@pytest.mark.parametrize("name", ["zoo:attention", "zoo:mamba", "zoo:lstm"])
def test_padding_on_the_left_changes_no_score(name: str) -> None:
    model = wb.load(name)
    whole = make_task("copying", model, length=6, batch=2, bos=300)
    alone = score_model(model, whole)
    pads = 3
    shifted = {
        "tokens": torch.cat([torch.full((2, pads), 5), whole.tokens], dim=1),
        "positions": whole.positions + pads,
        "sources": whole.sources + pads,
        "mask": torch.cat([torch.zeros(2, pads, dtype=torch.long), torch.ones_like(whole.tokens)], dim=1),
    }
    padded = Task(name="copying", answers=whole.answers, labels=whole.labels, label_names=whole.label_names, **shifted)
    torch.testing.assert_close(score_model(model, padded).loss, alone.loss, atol=2e-4, rtol=1e-4)


def test_a_batch_cut_in_parts_scores_as_a_whole(attention: HookedModel) -> None:
    task = make_task("in_context_bigrams", attention, time=20, batch=5)
    whole, parts = score_model(attention, task), score_model(attention, task, batch_size=2)
    for measure, values in whole.measures.items():
        torch.testing.assert_close(parts.measures[measure], values, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="batch_size is 0"):
        score_model(attention, task, batch_size=0)


def test_evaluate_is_make_and_score(attention: HookedModel) -> None:
    table = evaluate(attention, "copying", length=8, batch=4, seed=3)
    expected: TaskScores = score_model(attention, make_task("copying", attention, length=8, batch=4, seed=3))
    assert table["measure"].tolist() == ["loss", "accuracy"]
    assert table["mean"].tolist() == pytest.approx(
        [expected.loss.mean().item(), expected.correct.float().mean().item()]
    )
    assert table["n"].tolist() == [4, 4]
    # The zoo's attention model copies: far more than chance, one in two thousand.
    assert table["mean"][1] > 0.5


def test_seeds_count_together(attention: HookedModel) -> None:
    apart = [evaluate(attention, "copying", length=8, batch=4, seed=seed)["mean"][0] for seed in (1, 2)]
    both = evaluate(attention, "copying", length=8, batch=4, seeds=[1, 2])
    assert both["n"].tolist() == [8, 8]
    assert both["mean"][0] == pytest.approx(sum(apart) / 2)


def test_hooks_reach_the_task(attention: HookedModel) -> None:
    def silence(tensor: torch.Tensor, hook: Any) -> torch.Tensor:
        return torch.zeros_like(tensor)

    table = evaluate(
        attention, "copying", length=8, batch=4, fwd_hooks=[(lambda name: name.endswith("mixer.hook_out"), silence)]
    )
    assert table["mean"][1] < 0.1


def test_a_sweep_is_an_evaluation_at_each_point(attention: HookedModel) -> None:
    table = sweep(
        attention, "associative_recall", over={"pairs": [2, 5], "gap": [0, 3]}, seeds=[4, 5], batch=3, progress=False
    )
    loss = table[table["measure"] == "loss"]
    assert loss["pairs"].tolist() == [2, 2, 5, 5]
    assert loss["gap"].tolist() == [0, 3, 0, 3]
    alone = evaluate(attention, "associative_recall", pairs=5, gap=3, seeds=[4, 5], batch=3)
    assert loss["mean"].iloc[3] == pytest.approx(alone["mean"][0])
    assert table.columns[:3].tolist() == ["pairs", "gap", "task"]


def test_sweeps_that_cannot_be_get_a_sentence(attention: HookedModel) -> None:
    with pytest.raises(InputError, match="over names no values"):
        sweep(attention, "copying", over={})
    with pytest.raises(InputError, match="over names no values"):
        sweep(attention, "copying", over={"length": []})
    with pytest.raises(InputError, match="length is swept over and given"):
        sweep(attention, "copying", over={"length": [3]}, length=4)
    with pytest.raises(InputError, match="has no option 'size'"):
        sweep(attention, "copying", over={"size": [3]})
    with pytest.raises(InputError, match="take the place of seed"):
        evaluate(attention, "copying", seeds=[1], seed=1)
    with pytest.raises(InputError, match="take the place of seed"):
        evaluate(attention, "copying", seeds=[])
