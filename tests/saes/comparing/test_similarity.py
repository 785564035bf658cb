"""SVCCA, CKA and RSA against closed forms and against the papers' formulas written out over whole matrices."""

import numpy as np
import pytest
import torch
from scipy import stats

from workbench.errors import InputError
from workbench.saes.comparing import linear_cka, rsa, svcca


@pytest.fixture
def values():
    return torch.randn(400, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 3


def test_a_rotated_copy_is_the_same_space(values):
    turned = 2.5 * values @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0] - 7
    assert svcca(values, turned, variance=1.0) == pytest.approx(1, abs=1e-9)
    assert linear_cka(values, turned) == pytest.approx(1, abs=1e-9)
    permuted = values[:, torch.randperm(6)]
    assert rsa(values, permuted) == pytest.approx(1, abs=1e-9)


def test_a_linear_image_keeps_cca_and_changes_cka(values):
    image = values @ torch.diag(torch.tensor([10.0, 5, 1, 1, 0.1, 0.1], dtype=torch.float64))
    assert svcca(values, image, variance=1.0) == pytest.approx(1, abs=1e-6)
    assert linear_cka(values, image) < 0.99


def test_two_correlated_numbers_have_the_correlation_in_closed_form():
    """Of one number a side, CCA is |r| and linear CKA is r²."""
    x = torch.randn(1000, 1, dtype=torch.float64)
    y = 0.6 * x + 0.8 * torch.randn(1000, 1, dtype=torch.float64)
    r = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    assert svcca(x, -y) == pytest.approx(abs(r), abs=1e-9)
    assert linear_cka(x, -y) == pytest.approx(r**2, abs=1e-9)


def test_formulas_of_the_papers_over_whole_matrices(values):
    other = values[:, :4].tanh() + 0.3 * torch.randn(400, 4, dtype=torch.float64)
    a, b = (side.numpy() - side.numpy().mean(0) for side in (values, other))
    # Raghu et al.: singular vectors up to 99 % of the variance, then canonical correlations by QR.
    kept = []
    for side in (a, b):
        u, s, _ = np.linalg.svd(side, full_matrices=False)
        count = int(np.argmax(np.cumsum(s**2) / np.sum(s**2) >= 0.9)) + 1
        kept.append(u[:, :count] * s[:count])
    q = [np.linalg.qr(side)[0] for side in kept]
    want = np.linalg.svd(q[0].T @ q[1], compute_uv=False).mean()
    assert svcca(values, other, variance=0.9) == pytest.approx(want, abs=1e-9)
    # Kornblith et al.: HSIC of Gram matrices.
    k, g = a @ a.T, b @ b.T
    assert linear_cka(values, other) == pytest.approx((k * g).sum() / np.sqrt((k * k).sum() * (g * g).sum()), abs=1e-9)
    # Kriegeskorte et al.: correlation distances, compared by rank.
    few = values[:40], other[:40]
    upper = np.triu_indices(40, 1)
    distances = [(1 - np.corrcoef(side.numpy()))[upper] for side in few]
    assert rsa(*few) == pytest.approx(stats.spearmanr(*distances).statistic, abs=1e-9)


def test_independent_noise_has_what_chance_gives():
    """Linear CKA of independent Gaussian spaces of p and q numbers is about sqrt(p q) / n."""
    n, p, q = 4000, 20, 30
    x, y = torch.randn(n, p), torch.randn(n, q)
    assert linear_cka(x, y) == pytest.approx((p * q) ** 0.5 / n, rel=0.25)
    assert svcca(x, y) < 0.12
    assert abs(rsa(x[:150], y[:150])) < 0.06


@pytest.mark.parametrize("measure", [svcca, linear_cka, rsa])
def test_other_places_on_each_side_are_refused(measure):
    with pytest.raises(InputError, match="same"):
        measure(torch.randn(5, 2), torch.randn(6, 2))


def test_a_side_that_never_changes_is_refused():
    for measure in (svcca, linear_cka):
        with pytest.raises(InputError, match="never changes"):
            measure(torch.ones(5, 2), torch.randn(5, 2))
    with pytest.raises(InputError, match="variance is 0"):
        svcca(torch.randn(5, 2), torch.randn(5, 2), variance=0)
