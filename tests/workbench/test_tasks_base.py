from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks import NOT_SCORED, SHARED, Task, make_task


def padded(**changes: Any) -> Task:
    """Two sequences, the second with one token of padding and one slot that does not count."""
    parts: dict[str, Any] = {
        "name": "made_up",
        "tokens": torch.tensor([[3, 4, 5, 6], [0, 7, 8, 9]]),
        "positions": torch.tensor([[1, 2], [0, 2]]),
        "answers": torch.tensor([[5, 6], [0, 9]]),
        "sources": torch.tensor([[-1, 0], [-1, 1]]),
        "labels": torch.tensor([[0, 1], [NOT_SCORED, 1]]),
        "label_names": ("early", "late"),
        "mask": torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]]),
    }
    return Task(**{**parts, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"positions": torch.tensor([[1, 4], [0, 2]])}, r"positions outside 0\.\.3"),
        ({"sources": torch.tensor([[-2, 0], [-1, 1]])}, r"sources outside -1\.\.3"),
        ({"labels": torch.tensor([[0, 2], [-1, 1]])}, r"labels outside -1\.\.1"),
        ({"outcomes": torch.tensor([1, 2])}, "outcomes without them"),
        ({"mask": torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1]])}, "not on the left"),
        ({"mask": torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])}, "nothing but padding"),
        ({"mask": torch.tensor([[1, 0, 1, 1], [0, 1, 1, 1]])}, "not on the left"),
        ({"labels": torch.tensor([[0, 1], [0, 1]])}, "scores a prediction on padding"),
    ],
)
def test_parts_that_do_not_belong_together_get_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        padded(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"answers": torch.tensor([[5], [0]])}, r"answers for \(2, 1\) slots and not \(2, 2\)"),
        ({"states": torch.zeros(2, 3, dtype=torch.long)}, r"states for \(2, 3\) slots and not \(2, 4\)"),
        ({"tokens": torch.zeros(3, 4, dtype=torch.long), "mask": None}, "3 sequences and positions for 2"),
    ],
)
def test_shapes_are_checked_where_no_type_checker_runs(changes: dict[str, Any], sentence: str) -> None:
    whole = padded()
    # Not a Task: while the tests run, its annotations would be checked first.
    parts = SimpleNamespace(**{**{name: getattr(whole, name) for name in whole.__dataclass_fields__}, **changes})
    with pytest.raises(InputError, match=sentence):
        Task._check_shapes(cast(Task, parts))


def test_a_task_of_some_sequences_is_that_of_these_rows() -> None:
    task = padded(text=("one", "two"))
    part = task.sequences(slice(1, 2))
    assert part.batch == 1
    assert part.tokens.tolist() == [[0, 7, 8, 9]]
    assert part.mask is not None and part.mask.tolist() == [[0, 1, 1, 1]]
    assert part.text == ("two",)
    assert part.label_names == task.label_names


def test_what_all_sequences_share_is_not_cut() -> None:
    @dataclass(frozen=True, kw_only=True)
    class WithMatrix(Task):
        matrix: Tensor = field(metadata=SHARED)
        each: Tensor

    plain = padded()
    task = WithMatrix(
        **{name: getattr(plain, name) for name in plain.__dataclass_fields__},
        matrix=torch.eye(5),
        each=torch.tensor([10, 20]),
    )
    part = task.sequences(slice(1, None))
    assert isinstance(part, WithMatrix)
    assert part.matrix.shape == (5, 5)
    assert part.each.tolist() == [20]


def test_outcomes_are_shared_and_probabilities_are_not() -> None:
    chances = torch.full((2, 2, 3), 1 / 3)
    task = replace(padded(), outcomes=torch.tensor([1, 2, 3]), probabilities=chances)
    part = task.sequences(slice(0, 1))
    assert part.outcomes is not None and part.outcomes.tolist() == [1, 2, 3]
    assert part.probabilities is not None and part.probabilities.shape == (1, 2, 3)


@pytest.mark.parametrize("name", ["copying", "repeated_random_tokens"])
def test_a_task_shows_itself_in_one_line(name: str) -> None:
    task = make_task(name, 500, batch=3)
    shown = repr(task)
    assert shown.startswith(f"{type(task).__name__}({name}: 3 sequences of {task.time} tokens, ")
    assert f"{task.labels.numel()} scored: {', '.join(task.label_names)}" in shown and len(shown) < 200
