"""Hidden states of a task's generator become probe labels: at their own tokens, without padding, a group a sequence."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.probes.linear import labelled_states
from workbench.tasks import NOT_SCORED, Task


def task_of(**parts: object) -> Task:
    rows, time = 3, 5
    given: dict[str, object] = {
        "tokens": torch.tensor([[0, 0, 7, 8, 9], [4, 5, 6, 7, 8], [0, 0, 7, 8, 9]]),
        "mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]),
        "states": torch.tensor([[-1, -1, 2, 3, -1], [-1, 1, 0, -1, 2], [-1, -1, 2, 3, -1]]),
    }
    scored = torch.full((rows, 1), time - 1)
    common = {"positions": scored, "answers": scored, "sources": scored - time, "labels": scored * 0 + NOT_SCORED}
    return Task(name="hand_made", label_names=("end",), **common, **(given | parts))  # type: ignore[arg-type]


def test_states_are_labels_at_their_tokens_and_padding_is_gone() -> None:
    data = labelled_states(task_of())
    assert [row.tolist() for row in data.sequences] == [[7, 8, 9], [4, 5, 6, 7, 8], [7, 8, 9]]
    assert data.sequence.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert data.position.tolist() == [0, 1, 1, 2, 4, 0, 1]
    assert data.labels.tolist() == [2, 3, 1, 0, 2, 2, 3]
    assert data.types.tolist() == [7, 8, 5, 6, 8, 7, 8]


def test_a_sequence_and_its_repetition_are_one_group() -> None:
    data = labelled_states(task_of())
    assert data.groups.tolist() == [0, 0, 1, 1, 1, 0, 0]


def test_a_state_at_padding_is_no_place() -> None:
    data = labelled_states(task_of(states=torch.zeros(3, 5, dtype=torch.long)))
    assert np.bincount(data.sequence).tolist() == [3, 5, 3]


def test_a_generators_states_are_the_labels_of_the_text() -> None:
    task = wb.tasks.flip_flop(2048, 6, batch=4)
    data = labelled_states(task)
    assert task.states is not None
    for sequence, position, label in zip(data.sequence, data.position, data.labels, strict=True):
        assert label == task.states[sequence, position]
    assert len(data) == int((task.states >= 0).sum()) > 0


def test_a_task_without_states_is_refused() -> None:
    with pytest.raises(InputError, match="'hand_made' keeps no hidden states; label its tokens with labelled_tokens"):
        labelled_states(task_of(states=None))
    with pytest.raises(InputError, match="no hidden state at any token"):
        labelled_states(task_of(states=torch.full((3, 5), -1)))
