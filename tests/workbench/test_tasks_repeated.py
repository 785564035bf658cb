import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import make_task, register_task, repeated_random_tokens, task_names


@pytest.mark.parametrize("bos", [None, 0])
@pytest.mark.parametrize("copies", [2, 3])
def test_every_answer_is_the_next_token_and_stands_at_its_source(bos: int | None, copies: int) -> None:
    task = repeated_random_tokens(40, block=7, copies=copies, batch=5, seed=3, bos=bos)
    for row in range(task.batch):
        tokens = task.tokens[row].tolist()
        for position, answer, source, label in zip(
            task.positions[row].tolist(),
            task.answers[row].tolist(),
            task.sources[row].tolist(),
            task.labels[row].tolist(),
            strict=True,
        ):
            assert tokens[position + 1] == answer
            # An oracle that knows nothing of blocks: the answer is determined where the current token occurred before.
            earlier = [s for s in range(position) if tokens[s] == tokens[position]]
            if label == 0:
                assert source == -1
                assert earlier == []
            else:
                assert source == earlier[-1] + 1
                assert tokens[source] == answer


def test_scored_positions_are_all_but_the_first_token_of_the_second_copy() -> None:
    task = repeated_random_tokens(40, block=5, batch=1, bos=0)
    assert task.tokens.shape == (1, 11)
    assert task.positions[0].tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert task.labels[0].tolist() == [0] * 5 + [1] * 4
    assert task.label_names == ("first", "second")


def test_blocks_are_distinct_tokens_without_those_to_avoid() -> None:
    task = repeated_random_tokens(12, block=9, batch=50, avoid=[0, 5], bos=11, seed=1)
    blocks = task.tokens[:, 1:10]
    assert all(len(set(block)) == 9 for block in blocks.tolist())
    assert set(blocks.flatten().tolist()) == {1, 2, 3, 4, 6, 7, 8, 9, 10}
    assert torch.equal(task.tokens[:, 10:], blocks)


def test_tokens_are_uniform_and_the_seed_decides_them() -> None:
    task = repeated_random_tokens(10, block=2, batch=2000, seed=0, distinct=False)
    counts = torch.bincount(task.tokens[:, :2].flatten(), minlength=10)
    assert int(counts.min()) > 320 and int(counts.max()) < 480  # 400 expected, deviation 19
    assert torch.equal(task.tokens, repeated_random_tokens(10, 2, batch=2000, seed=0, distinct=False).tokens)
    assert not torch.equal(task.tokens, repeated_random_tokens(10, 2, batch=2000, seed=1, distinct=False).tokens)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"block": 0}, "block is 0"),
        ({"copies": 1}, "copies >= 2"),
        ({"batch": 0}, "batch is 0"),
        ({"block": 11}, "11 distinct tokens cannot be drawn from 10"),
        ({"block": 10, "bos": 3}, "10 distinct tokens cannot be drawn from 9"),
        ({"bos": 10}, "bos is token 10, outside 0..9"),
        ({"bos": True}, "bos=True needs a model"),
        ({"avoid": [2, 12]}, "avoid names token 12, outside 0..9"),
        ({"avoid": [-1]}, "avoid names token -1"),
    ],
)
def test_options_out_of_range_get_a_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        repeated_random_tokens(10, **{"block": 4, **options})


def test_a_vocabulary_that_is_no_vocabulary_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="hooked model, and str is neither"):
        repeated_random_tokens("gpt2")
    with pytest.raises(InputError, match="vocabulary size is 0"):
        repeated_random_tokens(0)


def test_a_task_name_is_given_away_once_and_found_again() -> None:
    assert "repeated_random_tokens" in task_names()
    made = make_task("repeated_random_tokens", 20, block=4, seed=2)
    assert torch.equal(made.tokens, repeated_random_tokens(20, block=4, seed=2).tokens)
    with pytest.raises(ValueError, match="belongs to"):
        register_task("repeated_random_tokens")(lambda: made)
    with pytest.raises(InputError, match=r"No task is called 'repeated_tokens'.*repeated_random_tokens"):
        make_task("repeated_tokens")
