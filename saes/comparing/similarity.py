"""How alike two spaces of activations are: canonical correlations, kernel alignment, representational dissimilarity."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError


def svcca(
    first: Float[Tensor, "places first"], second: Float[Tensor, "others second"], *, variance: float = 0.99
) -> float:
    """Mean canonical correlation after each side is cut to the principal directions that hold most of its variance.

    Raghu et al. 2017, arXiv:1706.05806, section 2. 1 for spaces that are linear images of each other; above 0 by chance
    where the places are not many more than the directions.

    Args:
        variance: how much of each side's variance is kept, above 0 and at most 1.

    Raises:
        InputError: sides with another number of places, or fewer than two; see `svcca_of`.
    """
    a, b = _centred(first, second)
    return svcca_of(a.T @ a / len(a), b.T @ b / len(b), a.T @ b / len(a), variance=variance)


def svcca_of(
    first: Float[Tensor, "first first"],
    second: Float[Tensor, "second second"],
    cross: Float[Tensor, "first second"],
    *,
    variance: float = 0.99,
) -> float:
    """`svcca` from covariances.

    Raises:
        InputError: `variance` out of its range, or a side that does not vary.
    """
    if not 0 < variance <= 1:
        raise InputError(f"variance is {variance}; a share above 0 and at most 1 is kept.")
    one, other = _whitening(first.double(), variance), _whitening(second.double(), variance)
    correlations = torch.linalg.svdvals(one.T @ cross.double() @ other)
    return float(correlations.clamp(max=1).mean())


def linear_cka(first: Float[Tensor, "places first"], second: Float[Tensor, "others second"]) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, arXiv:1905.00414, section 3).

    1 for spaces that are rotations of each other, whatever their scale.

    Raises:
        InputError: sides with another number of places, or fewer than two; a side that does not vary.
    """
    a, b = _centred(first, second)
    return linear_cka_of(a.T @ a, b.T @ b, a.T @ b)


def linear_cka_of(
    first: Float[Tensor, "first first"], second: Float[Tensor, "second second"], cross: Float[Tensor, "first second"]
) -> float:
    """`linear_cka` from covariances. Raises InputError for a side that does not vary."""
    norms = float(first.double().norm() * second.double().norm())
    if norms == 0:
        raise InputError("One side never changes, so there is nothing to compare.")
    return float(cross.double().square().sum()) / norms


def dissimilarities(values: Float[Tensor, "stimuli units"]) -> Float[Tensor, "stimuli stimuli"]:
    """One minus the correlation of each pair of stimuli's patterns over units (Kriegeskorte et al. 2008)."""
    a = values.double() - values.double().mean(1, keepdim=True)
    a = a / a.norm(dim=1, keepdim=True).clamp(min=1e-300)
    found: Tensor = 1 - a @ a.T
    return found


def rsa(first: Float[Tensor, "stimuli first"], second: Float[Tensor, "others second"]) -> float:
    """Rank correlation (Spearman) of two spaces' `dissimilarities` (Kriegeskorte et al. 2008).

    doi:10.3389/neuro.06.004.2008. Every pair of stimuli is compared once; memory goes with their square.

    Raises:
        InputError: sides with another number of stimuli, or fewer than three.
    """
    if len(first) != len(second) or len(first) < 3:
        raise InputError(f"RSA needs the same stimuli on both sides, at least 3; got {len(first)} and {len(second)}.")
    upper = torch.triu_indices(len(first), len(first), 1)
    return _rank_correlation(*(dissimilarities(side)[upper[0], upper[1]] for side in (first, second)))


def _rank_correlation(x: Float[Tensor, " pairs"], y: Float[Tensor, " pairs"]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(x.numpy(), y.numpy()).statistic)


def _centred(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    if len(first) != len(second) or len(first) < 2:
        raise InputError(f"Both sides need the same places, at least 2; they have {len(first)} and {len(second)}.")
    return first.double() - first.double().mean(0), second.double() - second.double().mean(0)


def _whitening(covariance: Float[Tensor, "units units"], variance: float) -> Float[Tensor, "units kept"]:
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    total = float(values.sum())
    if total == 0:
        raise InputError("One side never changes, so there is nothing to compare.")
    reached = values.cumsum(0) / total
    kept = min(int((reached < variance - 1e-12).sum()) + 1, int((values > 1e-10 * values[0]).sum()))
    found: Tensor = vectors[:, :kept] / values[:kept].sqrt()
    return found
