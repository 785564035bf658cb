"""A fitted basis spans the directions of most variance, of states far wider than the sample, too."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.saes import VectorSite, activation_stream, fit_basis, read_rows

TEXTS = [f"Document {n}: the meeting began at noon{', and nobody was late' * (n % 4)}." for n in range(9)]


@pytest.mark.parametrize(
    ("name", "hook", "options"),
    [
        ("zoo:attention", "blocks.1.hook_resid_post", {}),
        ("zoo:gated_delta", "blocks.1.mixer.hook_state", {"head": 1, "every": 4}),
    ],
)
def test_a_basis_is_the_principal_components_of_the_sample(name, hook, options):
    model = wb.load(name)
    whole = VectorSite.of(model, hook, **options)
    vectors = torch.cat([rows.values[0] for rows in read_rows(model, TEXTS, whole, length=16)]).numpy()
    assert len(vectors) > 20
    fitted = fit_basis(model, TEXTS, whole, 5, length=16)
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    assert fitted.rows == len(vectors)
    np.testing.assert_allclose(fitted.explained.numpy(), (values**2 / (values**2).sum())[:5], rtol=1e-3)
    # Both span the same space when the cosines between their principal directions are all 1.
    cosines = np.linalg.svd(fitted.basis.double().numpy() @ directions[:5].T, compute_uv=False)
    np.testing.assert_allclose(cosines, 1, atol=1e-3)
    torch.testing.assert_close(fitted.basis @ fitted.basis.T, torch.eye(5), atol=1e-5, rtol=0)
    # The same site reads in the subspace, as a stream and as the site that the names make.
    site = VectorSite.of(model, hook, basis=fitted.basis, **options)
    (batch,) = activation_stream(model, TEXTS, site, length=16)
    assert batch.shape == (len(vectors), 5)
    low = vectors @ fitted.basis.numpy().T
    np.testing.assert_allclose(np.sort(batch.numpy(), 0), np.sort(low, 0), rtol=1e-3, atol=1e-3)
    (again,) = activation_stream(model, TEXTS, fitted.site, length=16)
    assert torch.equal(batch, again)


def test_more_directions_than_there_are_is_one_sentence():
    model = wb.load("zoo:attention")
    with pytest.raises(
        InputError, match=r"^\d vectors at blocks.0.hook_resid_post differ in \d directions; a basis of"
    ):
        fit_basis(model, ["a b c"], "blocks.0.hook_resid_post", 10)
    with pytest.raises(InputError, match="rank is 0"):
        fit_basis(model, TEXTS, "blocks.0.hook_resid_post", 0)
    fitted = fit_basis(model, TEXTS, "blocks.0.hook_resid_post", 2, rows=30)
    assert fitted.rows == 30
    with pytest.raises(InputError, match="which has none yet"):
        fit_basis(model, TEXTS, fitted.site, 2)
