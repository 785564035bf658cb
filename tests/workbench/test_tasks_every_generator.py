"""What holds of every task that draws plain ids."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

import workbench as wb
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.tasks import Task, Vocabulary, make_task, score_predictions

SMALL: dict[str, dict[str, int]] = {
    "associative_recall": {"pairs": 4, "gap": 3},
    "bounded_dyck": {"time": 20},
    "copying": {"length": 6},
    "delayed_match_to_sample": {"time": 12},
    "dyck_balance": {"time": 12},
    "even_pairs": {"time": 12},
    "flip_flop": {"pairs": 12},
    "hidden_markov": {"time": 20},
    "histogram": {"time": 10, "symbols": 3},
    "in_context_bigrams": {"time": 30, "symbols": 10},
    "in_context_languages": {"time": 30},
    "linear_regression": {"examples": 4},
    "many_states": {"time": 20},
    "modular_arithmetic": {"operations": 5},
    "modular_sum": {"time": 12},
    "multi_query_recall": {"pairs": 4, "length": 24},
    "n_parity": {"time": 12},
    "parity": {"length": 8},
    "set_disjointness": {"first": 3, "second": 5},
    "sort": {"length": 5},
    "sparse_parity": {"examples": 4},
    "star_free": {"time": 20},
    "switching_sources": {"time": 20},
}
TOP = 59
# Tasks whose next token is a matter of chance, and tasks that name no wrong answers.
UNCERTAIN = {
    "bounded_dyck",
    "hidden_markov",
    "in_context_bigrams",
    "in_context_languages",
    "linear_regression",
    "many_states",
    "sparse_parity",
    "star_free",
    "switching_sources",
}
WITHOUT_WRONG_ONES = (UNCERTAIN - {"sparse_parity"}) | {"copying"}


@pytest.fixture(scope="module")
def mamba() -> HookedModel:
    return wb.load("zoo:mamba")


def check_same(one: Task, other: Task, *but: str) -> None:
    """All that two tasks hold is equal; probabilities up to the rounding of their last digit."""
    for each in fields(one):
        ours, theirs = getattr(one, each.name), getattr(other, each.name)
        if each.name in but:
            continue
        if isinstance(ours, Tensor):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
        else:
            assert ours == theirs


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_decides_everything(name: str) -> None:
    task = make_task(name, 60, batch=5, seed=7, **SMALL[name])
    torch.rand(3)  # the state of torch's own generator has no say
    check_same(task, make_task(name, 60, batch=5, seed=7, **SMALL[name]))
    other = make_task(name, 60, batch=5, seed=8, **SMALL[name])
    assert not torch.equal(task.tokens, other.tokens)
    assert (task.name, task.batch) == (name, 5)


@pytest.mark.parametrize("name", SMALL)
def test_a_token_in_front_moves_everything_by_one(name: str) -> None:
    plain = make_task(name, 60, batch=4, avoid=[0, TOP], **SMALL[name])
    moved = make_task(name, 60, batch=4, avoid=[0, TOP], bos=TOP, **SMALL[name])
    assert torch.equal(moved.tokens[:, 1:], plain.tokens) and (moved.tokens[:, 0] == TOP).all()
    assert not bool(torch.isin(plain.tokens, torch.tensor([0, TOP])).any())
    assert not bool(torch.isin(plain.answers, torch.tensor([0, TOP])).any())
    assert torch.equal(moved.positions, plain.positions + 1)
    assert torch.equal(moved.sources, torch.where(plain.sources >= 0, plain.sources + 1, -1))
    if plain.states is not None and moved.states is not None:
        assert torch.equal(moved.states[:, 1:], plain.states) and (moved.states[:, 0] == -1).all()
    check_same(plain, moved, "tokens", "positions", "sources", "states", "shared")


@pytest.mark.parametrize("name", SMALL)
def test_a_model_gives_tokens_of_its_own_and_bounds_the_length(name: str, mamba: HookedModel) -> None:
    task = make_task(name, mamba, batch=2, **SMALL[name])
    known = Vocabulary.of(mamba)
    assert int(task.tokens.max()) < known.size
    assert not set(task.tokens.flatten().tolist()) & set(known.special)
    assert not set(task.answers.flatten().tolist()) & set(known.special)
    exact = Vocabulary(60, context=task.time)
    assert make_task(name, exact, batch=2, **SMALL[name]).time == task.time
    with pytest.raises(
        InputError, match=f"'{name}' has {task.time} tokens at these sizes, and the model reads at most"
    ):
        make_task(name, Vocabulary(60, context=task.time - 1), batch=2, **SMALL[name])


@pytest.mark.parametrize("name", SMALL)
def test_too_few_tokens_and_no_sequences_get_a_sentence(name: str) -> None:
    with pytest.raises(InputError, match=r"needs \d+ tokens at these sizes|needs (elements|symbols) >= \d+"):
        make_task(name, 1, **SMALL[name])
    with pytest.raises(InputError, match="batch is 0"):
        make_task(name, 60, batch=0, **SMALL[name])


@pytest.mark.parametrize("name", SMALL)
def test_exact_predictions_are_distributions_that_allow_the_answer(name: str) -> None:
    task = make_task(name, 60, batch=20, **SMALL[name])
    assert (task.probabilities is None) == (name not in UNCERTAIN)
    if task.probabilities is None:
        return
    total = task.probabilities.sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert float(task.probabilities.min()) >= 0
    scores = score_predictions(task.probabilities, task)
    assert torch.isfinite(scores.loss).all()
    assert scores.legal is not None and bool(scores.legal.all())


@pytest.mark.parametrize("name", SMALL)
def test_wrong_answers_are_never_the_right_one(name: str) -> None:
    task = make_task(name, 60, batch=20, **SMALL[name])
    assert (task.distractors is None) == (name in WITHOUT_WRONG_ONES)
    assert task.distractors is None or not bool((task.distractors == task.answers[..., None]).any())
