"""A truth direction is found in contrast pairs without a label."""

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.probes.linear import contrast_probe

from .planted import noise


def pairs(count: int = 300, features: int = 12, seed: int = 0):
    """Statements and their negations: truth is a direction, and so, more strongly, is which of the two it is."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(2, size=count)
    along, wording = np.eye(features)[2], np.eye(features)[7]
    subject = generator.normal(size=(count, features)) * 0.3
    scale = np.linspace(0.5, 3, features)
    first = (subject + np.outer(2 * truth - 1, along) + 4 * wording + noise(count, features, seed + 1) * 0.1) * scale
    second = (subject - np.outer(2 * truth - 1, along) - 4 * wording + noise(count, features, seed + 2) * 0.1) * scale
    return first.astype(np.float32), second.astype(np.float32), truth.astype(bool), along


@pytest.mark.parametrize("method", ["ccs", "difference_pca"])
def test_the_planted_truth_is_found_and_not_the_wording(method) -> None:
    first, second, _, along = pairs()
    probe = contrast_probe(first, second, method, steps=200)
    assert abs(probe.direction @ along) > (0.9 if method == "ccs" else 0.97)
    assert abs(probe.direction[7]) < 0.15
    found = probe.accuracy(*pairs(seed=9)[:3])
    assert found.mean > 0.98 and found.low > 0.95


def test_the_loss_is_that_of_the_paper_and_what_is_consistent_has_nearly_none() -> None:
    first, second, _, _ = pairs()
    probe = contrast_probe(first, second, steps=200)
    one = 1 / (1 + np.exp(-(probe.probe.scores(first)[:, 0] - probe.offset)))
    two = 1 / (1 + np.exp(-(probe.probe.scores(second)[:, 0] + probe.offset)))
    assert probe.loss == pytest.approx(((one + two - 1) ** 2 + np.minimum(one, two) ** 2).mean(), rel=1e-6)
    unrelated = contrast_probe(noise(300, 3), noise(300, 3, seed=1), steps=200)
    assert unrelated.loss > 0.1 and probe.loss < 0.5 * unrelated.loss


def test_the_sign_is_nobodys_and_the_accuracy_takes_the_better_one() -> None:
    first, second, truth, _ = pairs()
    probe = contrast_probe(first, second, "difference_pca")
    assert probe.accuracy(first, second, truth).mean == probe.accuracy(first, second, ~truth).mean > 0.98


def test_pairs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="two sides of one shape"):
        contrast_probe(noise(4, 2), noise(4, 3))
    with pytest.raises(InputError, match="at least two"):
        contrast_probe(noise(1, 2), noise(1, 2))
    with pytest.raises(InputError, match="'ccs', 'difference_pca'"):
        contrast_probe(noise(4, 2), noise(4, 2), "pca")
    with pytest.raises(InputError, match="3 labels for 4 pairs"):
        contrast_probe(noise(4, 2), noise(4, 2), "difference_pca").accuracy(noise(4, 2), noise(4, 2), [1, 0, 1])
