"""Interpolated Kneser-Ney, against its definition worked out by hand."""

import numpy as np
import pytest
import torch

from workbench.errors import InputError
from workbench.probes.neurons import NgramModel


def rows(*texts: list[int]) -> list[torch.Tensor]:
    return [torch.tensor(text) for text in texts]


def test_every_distribution_sums_to_one() -> None:
    model = NgramModel(list(torch.randint(6, (10, 30), generator=torch.Generator().manual_seed(0))), 3, 7)
    for context in ((), (1,), (2, 3), (6, 6), (0, 6), (1, 2, 3)):
        assert sum(model.probability(context, token) for token in range(7)) == pytest.approx(1)
    assert model.probability((), 6) > 0  # never seen


def test_probabilities_are_those_of_the_definition() -> None:
    # 0 1 0 1 0 2: bigrams 01 twice, 10 twice, 02 once; continuations: 0 after {1}, 1 after {0}, 2 after {0}.
    model = NgramModel(rows([0, 1, 0, 1, 0, 2]), 2, 4, discount=0.5)
    unigram = dict.fromkeys((0, 1, 2), (1 - 0.5) / 3 + 0.5 * 3 / 3 / 4) | {3: 0.5 * 3 / 3 / 4}
    for token, count in ((0, 0), (1, 2), (2, 1), (3, 0)):
        expected = max(0, count - 0.5) / 3 + 0.5 * 2 / 3 * unigram[token]
        assert model.probability((0,), token) == pytest.approx(expected)
    assert model.probability((3,), 1) == pytest.approx(unigram[1])  # a context that was never seen


def test_a_token_that_follows_one_token_only_counts_once_however_often_it_does() -> None:
    # "Francisco": frequent, but after a single predecessor, so it is unlikely after any other.
    model = NgramModel(rows([0, 1] * 20 + [2, 3, 4, 3, 5, 3]), 2, 6)
    assert model.probability((6 - 1,), 3) > model.probability((5,), 1)


def test_a_longer_context_predicts_what_needs_it() -> None:
    # The next token is the one two before.
    text = torch.arange(600) // 2 % 2
    short, long = (np.concatenate(NgramModel([text], n, 2).loss([text])).mean() for n in (2, 3))
    assert short == pytest.approx(np.log(2), abs=0.05) and long < 0.05


def test_the_loss_is_of_every_token_but_the_first() -> None:
    model = NgramModel(rows([0, 1, 0, 1, 0, 2]), 2, 4, discount=0.5)
    (losses,) = model.loss(rows([0, 1, 3]))
    expected = [model.probability((0,), 1), model.probability((1,), 3)]
    np.testing.assert_allclose(losses, -np.log(expected))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n": 0}, "at least one token"),
        ({"n": 9}, "has the 9 tokens"),
        ({"vocabulary": 2}, "outside the vocabulary"),
        ({"discount": 1.0}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_counted_is_refused(options, says) -> None:
    with pytest.raises(InputError, match=says):
        NgramModel(rows([0, 1, 2, 3]), **{"n": 2, "vocabulary": 4, **options})
