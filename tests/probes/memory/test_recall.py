"""Recall against bytes and by place, from scores that are counted by hand; verbatim memory of a trained member."""

import pandas as pd
import pytest
import torch

import workbench as wb
from tests.probes.memory.models import tiny
from workbench.errors import InputError
from workbench.probes.memory import (
    curve_figure,
    primacy_and_recency,
    recall_by_bytes,
    serial_position,
    state_bytes,
    verbatim_memory,
)
from workbench.tasks import make_task, score_logits, score_model
from workbench.tasks.base import NOT_SCORED, Task
from workbench.tasks.noun_lists import repeated_noun_list


def test_a_row_holds_the_bytes_of_that_length_and_the_scores_of_that_task() -> None:
    models = [tiny("attention"), tiny("mamba")]
    found = recall_by_bytes(models, "associative_recall", {"pairs": (2, 6)}, batch=4, seed=3)
    for row, (model, pairs) in zip(
        found.to_dict("records"), [(model, pairs) for model in models for pairs in (2, 6)], strict=True
    ):
        task = make_task("associative_recall", model, pairs=pairs, batch=4, seed=3)
        scores = score_model(model, task)
        assert row["bytes"] == state_bytes(model, task.time) and row["time"] == task.time
        assert row["bits_per_answer"] == 8 * row["bytes"]
        assert row["loss"] == pytest.approx(scores.loss.mean().item(), rel=1e-5)
        assert row["accuracy"] == scores.correct.double().mean().item()
    by_pairs = found.set_index(["model", "pairs"])["bytes"].to_numpy()
    assert by_pairs[1] > by_pairs[0] and by_pairs[2] == by_pairs[3]


def test_pass_keys_count_whole_and_more_state_holds_more_of_them() -> None:
    models = [wb.load(f"zoo:{name}", check=False) for name in ("attention", "mamba")]
    found = recall_by_bytes(models, "passkey", {"length": (64, 96)}, batch=12, digits=3).set_index(["model", "length"])
    assert (found["exact_match"] <= found["accuracy"]).all()
    task = make_task("passkey", models[0], length=64, digits=3, batch=12)
    correct = score_model(models[0], task).correct
    whole = [bool(correct[row][task.labels[row] != NOT_SCORED].all()) for row in range(12)]
    assert found.loc[("zoo:attention", 64), "exact_match"] == pytest.approx(sum(whole) / 12)
    assert found["accuracy"]["zoo:attention"].mean() > found["accuracy"]["zoo:mamba"].mean()


def test_recurrent_members_recall_the_end_of_a_list_best() -> None:
    ends = {}
    for name in ("attention", "gated_delta"):
        model = wb.load(f"zoo:{name}", check=False)
        curve = serial_position(score_model(model, make_task("list_recall", model, batch=64)))
        ends[name] = primacy_and_recency(curve)
    assert ends["gated_delta"]["recency"] > 0.1 > ends["gated_delta"]["primacy"]
    assert abs(ends["attention"]["recency"]) < ends["gated_delta"]["recency"]


def hand_scored() -> tuple[torch.Tensor, Task]:
    """Two sequences that recall three items: the first is right at items 1 and 3, the second at item 1 alone."""
    task = Task(
        name="by hand",
        tokens=torch.tensor([[1, 2, 3, 1, 2, 3]] * 2),
        positions=torch.tensor([[2, 3, 4], [4, 3, 2]]),
        answers=torch.tensor([[1, 2, 3], [3, 2, 1]]),
        sources=torch.tensor([[0, 1, 2], [2, 1, 0]]),
        labels=torch.tensor([[0, 1, 2], [2, 1, NOT_SCORED]]),
        label_names=("item_1", "item_2", "item_3"),
    )
    logits = torch.zeros(2, 6, 5)
    for row, position, token in ((0, 2, 1), (0, 3, 4), (0, 4, 3), (1, 4, 4), (1, 3, 4), (1, 2, 1)):
        logits[row, position, token] = 1
    return logits, task


def test_places_are_counted_by_label_and_by_source() -> None:
    scores = score_logits(*hand_scored())
    curve = serial_position(scores)
    assert curve["place"].tolist() == [1, 2, 3] and curve["value"].tolist() == [1, 0, 0.5]
    assert curve["sequences"].tolist() == [1, 2, 2]
    by_source = serial_position(scores, by="source")
    # Without its first item the second sequence has two sources, so its last item is the second.
    assert by_source["value"].tolist() == [0.5, 0, 1] and by_source["sequences"].tolist() == [2, 2, 1]


def test_primacy_and_recency_are_what_the_ends_have_over_the_middle() -> None:
    curve = pd.DataFrame({"place": [3, 1, 2, 5, 4], "value": [0.2, 1.0, 0.4, 0.9, 0.3]})
    ends = primacy_and_recency(curve, ends=1)
    assert ends == pytest.approx({"primacy": 0.7, "recency": 0.6})
    with pytest.raises(InputError, match="no middle"):
        primacy_and_recency(curve, ends=3)


def test_tasks_without_places_and_unknown_measures_are_refused() -> None:
    scores = score_model(tiny("mamba"), make_task("associative_recall", tiny("mamba"), batch=2, pairs=2))
    with pytest.raises(InputError, match="no labels that tell places"):
        serial_position(scores)
    with pytest.raises(InputError, match="No measure is called 'speed'"):
        serial_position(scores, measure="speed")
    with pytest.raises(InputError, match="nothing to run"):
        recall_by_bytes([], "associative_recall")


def test_a_member_that_copies_reads_the_same_list_with_less_surprise_than_a_new_one() -> None:
    model = wb.load("zoo:attention", check=False)
    found = verbatim_memory(model, items=[4], gaps=[0], batch=8).set_index("second")
    assert found.loc["same", "high"] < found.loc["new", "low"]
    task = repeated_noun_list(model, 4, second="same", gap=0, batch=8)
    logits, shares = model(task.tokens, attention_mask=task.mask).log_softmax(-1), []
    for row in range(8):
        lists: dict[int, list[float]] = {0: [], 1: []}
        for position, answer, label in zip(task.positions[row], task.answers[row], task.labels[row], strict=True):
            if label != NOT_SCORED:
                lists[int(label)].append(-logits[row, position, answer].item())
        shares.append((sum(lists[1]) / len(lists[1])) / (sum(lists[0]) / len(lists[0])))
    assert found.loc["same", "surprisal"] == pytest.approx(sum(shares) / 8, rel=1e-4)


def test_no_condition_is_refused() -> None:
    with pytest.raises(InputError, match="at least one value"):
        verbatim_memory(wb.load("zoo:mamba", check=False), items=[])


def test_curves_have_bands_marks_and_no_logarithm_of_nothing() -> None:
    table = pd.DataFrame({"lag": [0, 1, 2], "value": [1.0, 0.5, 0.2], "low": [0.9, 0.4, 0.1], "high": [1.1, 0.6, 0.3]})
    figure = curve_figure({"<a>": table, "b": table.drop(columns="low")}, "lag", "value", mark=1.5, log_x=True)
    assert [trace.mode for trace in figure.data if trace.mode] == ["lines", "lines"] and len(figure.data) == 3
    assert list(figure.data[1].x) == [1, 2] and "<a>" not in figure.data[1].name
    assert list(figure.data[0].y) == [0.6, 0.3, 0.1, 0.4] and figure.layout.shapes[0].x0 == 1.5
    with pytest.raises(InputError, match="no column 'loss'"):
        curve_figure({"a": table}, "lag", "loss")
