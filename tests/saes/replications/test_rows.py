"""What the rows about features measure by themselves, on things whose answer is known."""

import numpy as np
import pytest
import torch

import workbench
from workbench.errors import InputError
from workbench.saes.codebook import Codebook
from workbench.saes.replications.rows import circles, codebooks, explaining, geometry
from workbench.saes.replications.text import written


@pytest.fixture(scope="module")
def model():
    return workbench.load("zoo:attention", check=False)


@pytest.fixture(scope="module")
def rows(model):
    return written(model, 96, 64)


def test_text_is_the_same_for_a_seed_and_begins_behind_the_beginning(model, rows) -> None:
    assert rows.shape == (96, 64)
    assert torch.equal(written(model, 96, 8), rows[:, :8])
    assert not torch.equal(written(model, 96, 8, seed=1), rows[:, :8])
    assert len(rows[:, 0].unique()) > 1  # not the beginning-of-text token, which all of them share


def test_a_circle_holds_all_of_what_lies_on_it_and_only_in_its_order() -> None:
    angles = 2 * torch.pi * torch.arange(7) / 7
    plane = torch.linalg.qr(torch.randn(10, 2, generator=torch.Generator().manual_seed(0)))[0]
    points = 3 + torch.stack([angles.cos(), angles.sin()], 1) @ plane.T
    held, better = circles._order(points, 7)
    assert held == pytest.approx(1, abs=1e-6)
    # Of the 720 orders that begin with the first, the same circle backwards is the only other one that holds it all.
    assert better < 0.01
    held, better = circles._order(points[[0, 2, 4, 6, 1, 3, 5]], 7)
    assert held == pytest.approx(0, abs=1e-6) and better == 1


def test_prompts_of_different_lengths_are_refused(model) -> None:
    with pytest.raises(InputError, match="of different lengths"):
        circles._prompts(model, "{} days from {} is", ["Monday", "the"])


def test_every_word_of_a_relation_is_one_token(model) -> None:
    first, second, relation = geometry._pairs(model)
    assert first.shape == second.shape == (len(relation), 128)
    assert sorted(set(relation)) == sorted(geometry.RELATIONS)
    # Of one word there is one vector, whatever relation it is in; of the other word of a pair another.
    assert np.allclose(first[relation.index("past")], first[relation.index("ing")])
    assert np.abs(first - second).max(1).min() > 0.1


def test_a_bottleneck_costs_nothing_where_it_changes_nothing_and_all_where_it_is_the_mean(model, rows) -> None:
    held = model.run_with_cache(rows[:12], names_filter=codebooks.HOOK)[1][codebooks.HOOK].flatten(0, 1)
    exact = Codebook(held, k=1, hook=codebooks.HOOK)
    clean, coded, without = codebooks._losses(model, exact, rows[:12], rows[:12])
    assert coded == pytest.approx(clean, abs=1e-4)
    mean = Codebook(held.mean(0, keepdim=True), k=1, hook=codebooks.HOOK)
    _, coded, again = codebooks._losses(model, mean, rows[:12], rows[:12])
    assert coded == pytest.approx(again, abs=1e-4) and again == without and without > clean + 0.5


def test_a_code_that_is_switched_on_moves_towards_its_own_tokens(model, rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes that are vectors of the text themselves: switched on, the model goes on as it does behind that token."""
    monkeypatch.setattr(codebooks, "CODES", 64)
    rows = rows[:24]
    held = model.run_with_cache(rows, names_filter=codebooks.HOOK)[1][codebooks.HOOK].flatten(0, 1)
    book = Codebook(held[torch.randperm(len(held), generator=torch.Generator().manual_seed(0))[:64]], 1)
    book.hook = codebooks.HOOK
    own, other = codebooks._switching(model, book, rows, rows[:4])
    assert len(own) == len(other) > 4
    assert own.mean() > 2 * other.mean().abs() and (own > 0).float().mean() > 0.9


def test_labels_of_known_functions_are_right_and_those_of_others_are_not(
    model, rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "PLANTED", 5)
    own, other = explaining._known(model, rows[:48])
    assert all(own[measure] > 0.9 > other[measure] + 0.25 for measure in explaining.MEASURES)
