"""The point cloud of directions as a whole: how its variance falls off, and how far it is from one smooth lump."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from workbench.errors import InputError


@dataclass(frozen=True)
class Slope:
    """A power law fitted to the eigenvalues of a covariance.

    Attributes:
        slope: exponent, of eigenvalue against rank, in logarithms; an isotropic cloud has about 0.
        low, high: limits over points, which are resampled.
        isotropic: the slope of as many Gaussian points without any preferred direction, for comparison.
    """

    slope: float
    low: float
    high: float
    isotropic: float


def eigenvalues(points: Float[np.ndarray, "points d"]) -> Float[np.ndarray, " d"]:
    """Variance along the principal components, largest first. Raises InputError for fewer than three points."""
    if len(points) < 3:
        raise InputError(f"{len(points)} points are no cloud; at least 3 are needed.")
    centred = points.astype(np.float64) - points.astype(np.float64).mean(0)
    singular = np.linalg.svd(centred, compute_uv=False)
    found = np.zeros(points.shape[1])
    found[: len(singular)] = singular**2 / len(points)
    return found


def spectrum_slope(
    points: Float[np.ndarray, "points d"],
    *,
    ranks: tuple[int, int] | None = None,
    draws: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> Slope:
    """The power law by which eigenvalues fall with their rank (Li et al. 2024, arXiv:2410.19750, section 5.1).

    Args:
        ranks: first and last rank of the fit, from 1; the upper half of those that vary by default, since the last
            eigenvalues of few points are pulled down by their number.
        draws: resamples of the points.
        level: of the limits.
        seed: of the resampling, and of the isotropic cloud.

    Raises:
        InputError: fewer than three points, or ranks that are not there.
    """
    values = eigenvalues(points)
    there = int((values > 1e-10 * values[0]).sum())
    first, last = (1, max(2, there // 2)) if ranks is None else ranks
    if not 1 <= first < last <= there:
        raise InputError(f"Ranks {first} to {last} are fitted, and there are 1 to {there}.")
    generator = np.random.default_rng(seed)
    slopes = [
        _fitted(eigenvalues(points[generator.integers(len(points), size=len(points))]), first, last)
        for _ in range(draws)
    ]
    low, high = np.quantile(slopes, [(1 - level) / 2, (1 + level) / 2])
    isotropic = _fitted(eigenvalues(generator.standard_normal(points.shape)), first, last)
    slope = _fitted(values, first, last)
    # Resampled points repeat, which steepens every spectrum alike: the limits are moved back by that.
    bias = float(np.mean(slopes)) - slope
    return Slope(slope, float(low) - bias, float(high) - bias, isotropic)


@dataclass(frozen=True)
class Entropy:
    """Entropy of a point cloud in nats, estimated by nearest neighbours.

    Attributes:
        cloud: of the points.
        gaussian: of a Gaussian with the same covariance, by its formula.
        clustering: what the points fall short of it: 0 of a Gaussian cloud, large of clusters.
        null: `clustering` of as many points of that Gaussian, a draw each: what the estimate gives for nothing.
    """

    cloud: float
    gaussian: float
    clustering: float
    null: tuple[float, ...]


def clustering_entropy(
    points: Float[np.ndarray, "points d"], *, dimensions: int = 10, neighbour: int = 3, draws: int = 20, seed: int = 0
) -> Entropy:
    """How clustered a cloud is: the entropy of the Gaussian of its covariance less its own.

    Li et al. 2024 (section 5.2), with the nearest-neighbour estimate of Kozachenko and Leonenko (1987; Kraskov et al.
    2004, equation 20) in the space of the first principal components: in many dimensions no number of points is enough.

    Args:
        dimensions: principal components that are kept.
        neighbour: which nearest neighbour is measured to.
        draws: Gaussian clouds for comparison.

    Raises:
        InputError: too few points, or more dimensions than the cloud has; points that coincide.
    """
    from scipy.stats import multivariate_normal

    if not 1 <= dimensions <= points.shape[1] or len(points) < max(dimensions + 2, neighbour + 2):
        raise InputError(
            f"{len(points)} points of {points.shape[1]} numbers have no entropy in {dimensions} dimensions."
        )
    centred = points.astype(np.float64) - points.astype(np.float64).mean(0)
    _, singular, components = np.linalg.svd(centred, full_matrices=False)
    if singular[dimensions - 1] <= 1e-9 * singular[0]:
        raise InputError(f"The cloud has fewer than {dimensions} dimensions; ask for fewer.")
    kept = centred @ components[:dimensions].T
    covariance = kept.T @ kept / len(kept)
    gaussian = float(multivariate_normal(cov=covariance).entropy())
    cloud = _entropy(kept, neighbour)
    generator = np.random.default_rng(seed)
    null = []
    for _ in range(draws):
        drawn = generator.multivariate_normal(np.zeros(dimensions), covariance, size=len(points))
        null.append(float(multivariate_normal(cov=np.cov(drawn.T, bias=True)).entropy()) - _entropy(drawn, neighbour))
    return Entropy(cloud, gaussian, gaussian - cloud, tuple(null))


def _entropy(points: Float[np.ndarray, "points d"], neighbour: int) -> float:
    from scipy.spatial import cKDTree
    from scipy.special import digamma, gammaln

    n, d = points.shape
    distances = cKDTree(points).query(points, k=neighbour + 1)[0][:, -1]
    if (distances == 0).any():
        raise InputError(f"More than {neighbour} points coincide, and of them there is no entropy; take them together.")
    ball = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    return float(digamma(n) - digamma(neighbour) + ball + d * np.log(distances).mean())


def _fitted(values: Float[np.ndarray, " d"], first: int, last: int) -> float:
    ranks = np.arange(first, last + 1)
    return float(np.polyfit(np.log(ranks), np.log(values[first - 1 : last]), 1)[0])
