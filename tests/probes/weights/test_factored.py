"""Factored matrices do what the products themselves do."""

from __future__ import annotations

import pytest
import torch

from workbench.errors import InputError
from workbench.probes.weights import FactoredMatrix, composition_scores


def pair(*batch: int, left: int = 9, inner: int = 3, right: int = 9, seed: int = 0) -> FactoredMatrix:
    torch.manual_seed(seed)
    return FactoredMatrix(torch.randn(*batch, left, inner).double(), torch.randn(*batch, inner, right).double())


@pytest.mark.parametrize(("left", "inner", "right"), [(9, 3, 7), (4, 6, 8), (8, 6, 4), (5, 5, 5)])
def test_singular_values_and_vectors_are_the_products(left: int, inner: int, right: int) -> None:
    matrix = pair(2, left=left, inner=inner, right=right)
    u, s, v = matrix.svd()
    torch.testing.assert_close(u @ torch.diag_embed(s) @ v.mT, matrix.AB)
    torch.testing.assert_close(s, torch.linalg.svdvals(matrix.AB)[:, : s.shape[1]])
    torch.testing.assert_close(u.mT @ u, torch.eye(s.shape[1]).double().expand(2, -1, -1))
    torch.testing.assert_close(matrix.singular_values(), s)
    torch.testing.assert_close(matrix.norm(), torch.linalg.matrix_norm(matrix.AB))
    assert matrix.rank >= s.shape[1] - max(0, inner - min(left, right))


def test_eigenvalues_are_those_of_the_product_that_are_not_zero() -> None:
    matrix = pair()
    whole = torch.linalg.eigvals(matrix.AB)
    whole = whole[whole.abs().argsort(descending=True)][:3]
    ours = matrix.eigenvalues()
    ours = ours[ours.abs().argsort(descending=True)]
    torch.testing.assert_close(ours.abs().float(), whole.abs().float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.sum().real.double(), matrix.AB.trace(), atol=1e-4, rtol=1e-4)
    copies = FactoredMatrix(torch.randn(6, 2), torch.zeros(2, 6))
    copies = FactoredMatrix(copies.A, copies.A.T)
    assert float(copies.copying_score()) == pytest.approx(1.0)
    assert float(FactoredMatrix(copies.A, -copies.A.T).copying_score()) == pytest.approx(-1.0)


def test_products_transposes_and_indices_stay_factored() -> None:
    one, other, plain = pair(2), pair(2, inner=2, seed=1), torch.randn(9, 5).double()
    torch.testing.assert_close((one @ other).AB, one.AB @ other.AB)
    assert (one @ other).A.shape[-1] == 2 and (other @ one).A.shape[-1] == 2
    torch.testing.assert_close((one @ plain).AB, one.AB @ plain)
    torch.testing.assert_close((plain.T @ one).AB, plain.T @ one.AB)
    torch.testing.assert_close(one.T.AB, one.AB.mT)
    torch.testing.assert_close(one[1].AB, one.AB[1])
    assert one.shape == (2, 9, 9)


def test_scores_are_norms_of_products() -> None:
    left, right = pair(3), pair(4, inner=2, seed=1)
    scores = composition_scores(left, right)
    norm = torch.linalg.matrix_norm
    for i in range(3):
        for j in range(4):
            expected = norm(left.AB[i] @ right.AB[j]) / norm(left.AB[i]) / norm(right.AB[j])
            assert float(scores[i, j]) == pytest.approx(float(expected), rel=1e-4)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="inner sizes differ"):
        FactoredMatrix(torch.randn(3, 2), torch.randn(3, 2))
    with pytest.raises(InputError, match="has no eigenvalues"):
        pair(right=4).eigenvalues()
    with pytest.raises(InputError, match="do not compose"):
        composition_scores(pair(2, right=4), pair(2))
