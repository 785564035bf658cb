"""Features of several dimensions: what cannot be split into independent parts or told apart as a mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.saes.autoencoder import SparseAutoencoder

if TYPE_CHECKING:
    import pandas as pd


def separability(points: Float[np.ndarray, "points numbers"], *, angles: int = 90, bins: int = 12) -> float:
    """The least mutual information of two orthogonal coordinates, over all rotations, in bits.

    Engels et al. 2024, arXiv:2405.14860, section 3.2 (separability index): near 0 where some rotation makes the
    coordinates independent, above it for what belongs together, such as a circle. Of histograms; what they show of
    independent coordinates by chance (Miller 1955) is taken off.

    Args:
        angles: rotations that are tried, within a right angle.
        bins: of each coordinate, with like numbers of points in each.

    Raises:
        InputError: fewer than four points a cell of the histogram, or points of other than two numbers.
    """
    _check(points)
    if len(points) < 4 * bins:
        raise InputError(f"{len(points)} points fill no histogram of {bins} bins a side; give more, or fewer bins.")
    centred = points - points.mean(0)
    found = []
    for angle in np.linspace(0, np.pi / 2, angles, endpoint=False):
        turned = centred @ _turned(angle)
        found.append(_information(turned[:, 0], turned[:, 1], bins))
    return min(found)


def mixture(
    points: Float[np.ndarray, "points numbers"], *, tolerance: float = 0.1, angles: int = 180, offsets: int = 200
) -> float:
    """The largest share of points that lie close to one line, as a share of the spread across it.

    Engels et al. 2024, section 3.2 (mixture index): the maximum over directions ``v`` and offsets ``c`` of
    ``P(|v x + c| < tolerance * sqrt(E[(v x + c)^2]))``. Near 1 where features that do not fire together are mixed, so
    that most points have nothing of a direction; small for what belongs together.

    Args:
        tolerance: epsilon of the paper.
        angles, offsets: of the search; offsets between the extremes of the points along each direction.

    Raises:
        InputError: points of other than two numbers.
    """
    _check(points)
    best = 0.0
    for angle in np.linspace(0, np.pi, angles, endpoint=False):
        along = np.sort(points @ np.array([np.cos(angle), np.sin(angle)]))
        middle, spread = along.mean(), along.var()
        if spread <= 1e-24:
            return 1.0
        centres = np.linspace(along[0], along[-1], offsets)
        widths = tolerance * np.sqrt(spread + (middle - centres) ** 2)
        inside = np.searchsorted(along, centres + widths) - np.searchsorted(along, centres - widths, side="right")
        best = max(best, float(inside.max()) / len(along))
    return best


@dataclass(frozen=True, eq=False)
class FeatureCluster:
    """Features whose directions lie together, and what they say together.

    Attributes:
        features: which.
        points: what they reconstruct together, of vectors in which at least one of them fires, along the principal
            components; the first columns vary most.
        rows: which vectors these are.
        components: the principal directions, as rows.
        separability, mixture: of neighbouring pairs of components (1 and 2, 2 and 3, ...), as in the paper.
    """

    features: tuple[int, ...]
    points: Float[np.ndarray, "points components"]
    rows: Int[np.ndarray, " points"]
    components: Float[np.ndarray, "components d"]
    separability: tuple[float, ...]
    mixture: tuple[float, ...]

    @property
    def irreducibility(self) -> float:
        """The largest ``(1 - mixture) * separability`` of its planes: what the paper ranks clusters by."""
        return max((1 - m) * s for s, m in zip(self.separability, self.mixture, strict=True))


def cluster_directions(
    directions: Float[Tensor, "features d"], *, clusters: int | None = None, cosine: float = 0.5, seed: int = 0
) -> list[Int[np.ndarray, " _"]]:
    """Features in groups by the direction they write, whatever its sign; groups of one are left out.

    Args:
        clusters: spectral clustering into so many, as the paper does for GPT-2; None for groups that are connected by
            cosines of at least `cosine`, as it does for larger models.

    Raises:
        InputError: more clusters than features.
    """
    own = directions.detach().double().cpu()
    own = own / own.norm(dim=1, keepdim=True).clamp(min=1e-30)
    similarity = (own @ own.T).abs().numpy()
    if clusters is not None:
        from sklearn.cluster import SpectralClustering

        if not 2 <= clusters <= len(own):
            raise InputError(f"{len(own)} features cannot be in {clusters} clusters; 2 to {len(own)} can be.")
        affinity = 1 - np.arccos(similarity.clip(0, 1)) / (np.pi / 2)
        made = SpectralClustering(clusters, affinity="precomputed", random_state=seed).fit_predict(affinity)
    else:
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import connected_components

        made = connected_components(csr_array(similarity >= cosine), directed=False)[1]
    groups = [np.nonzero(made == number)[0] for number in range(int(made.max()) + 1)]
    return sorted((group for group in groups if len(group) > 1), key=lambda group: -len(group))


def irreducible_features(
    sae: SparseAutoencoder,
    vectors: Float[Tensor, "rows d_in"],
    *,
    clusters: int | None = None,
    cosine: float = 0.5,
    components: int = 4,
    least: int = 200,
    tolerance: float = 0.1,
    rows: int = 1024,
    seed: int = 0,
) -> list[FeatureCluster]:
    """Clusters of features that make one feature of several dimensions, most irreducible first (Engels et al. 2024).

    Features are clustered by direction; each cluster alone reconstructs the vectors in which any of its features fires
    (arXiv:2405.14860, section 4); the planes of the principal components of these are measured.

    Args:
        clusters, cosine: as in `cluster_directions`.
        components: principal components that are kept of a cluster, of which neighbours make planes.
        least: vectors in which a cluster has to fire to be measured.
        tolerance: of `mixture`.

    Raises:
        InputError: no cluster of two features or more fires that often.
    """
    directions = sae.directions().detach().float().cpu()
    groups = cluster_directions(directions, clusters=clusters, cosine=cosine, seed=seed)
    found: list[FeatureCluster] = []
    kept: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in groups]
    for start in range(0, len(vectors), rows):
        with torch.no_grad():
            features = sae.encode(vectors[start : start + rows].to(sae.W_enc)).float().cpu().numpy()
        for number, group in enumerate(groups):
            part = features[:, group]
            fires = np.nonzero(part.any(1))[0]
            kept[number].append((fires + start, part[fires]))
    for group, parts in zip(groups, kept, strict=True):
        where = np.concatenate([place for place, _ in parts])
        if len(where) < least:
            continue
        values = np.concatenate([part for _, part in parts]) @ directions[torch.from_numpy(group)].numpy()
        found.append(_measured(group, values.astype(np.float64), where, components, tolerance))
    if not found:
        raise InputError(
            f"Of {len(groups)} clusters of features none fires in {least} of {len(vectors)} vectors; give more, or ask "
            "for other clusters."
        )
    return sorted(found, key=lambda cluster: -cluster.irreducibility)


def irreducible_table(clusters: list[FeatureCluster]) -> pd.DataFrame:
    """One row a cluster: ``features``, ``vectors`` and, of its best plane, ``plane``, ``separability``, ``mixture``."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for cluster in clusters:
        scores = [(1 - m) * s for s, m in zip(cluster.separability, cluster.mixture, strict=True)]
        plane = int(np.argmax(scores))
        rows.append(
            {
                "features": cluster.features,
                "vectors": len(cluster.points),
                "plane": (plane + 1, plane + 2),
                "separability": cluster.separability[plane],
                "mixture": cluster.mixture[plane],
                "irreducibility": cluster.irreducibility,
            }
        )
    return pd.DataFrame(rows)


def _measured(
    group: Int[np.ndarray, " _"],
    values: Float[np.ndarray, "points d"],
    where: Int[np.ndarray, " points"],
    components: int,
    tolerance: float,
) -> FeatureCluster:
    centred = values - values.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][: max(2, min(components, len(group)))]
    points = centred @ axes.T
    planes = [points[:, first : first + 2] for first in range(points.shape[1] - 1)]
    return FeatureCluster(
        tuple(int(one) for one in group),
        points,
        where,
        axes,
        tuple(separability(plane) for plane in planes),
        tuple(mixture(plane, tolerance=tolerance) for plane in planes),
    )


def _check(points: Float[np.ndarray, "points numbers"]) -> None:
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
        raise InputError(f"A plane has points of two numbers; these are {[*points.shape]}.")


def _turned(angle: float) -> Float[np.ndarray, "2 2"]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _information(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"], bins: int) -> float:
    """Mutual information in bits of two numbers in bins of like counts, less what chance gives."""
    cells = [
        np.searchsorted(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]), values, side="right")
        for values in (x, y)
    ]
    joint = np.zeros((bins, bins))
    np.add.at(joint, tuple(cells), 1)
    joint /= len(x)
    expected = joint.sum(1, keepdims=True) @ joint.sum(0, keepdims=True)
    there = joint > 0
    information = float((joint[there] * np.log2(joint[there] / expected[there])).sum())
    used = [len(np.unique(one)) for one in cells]
    chance = (used[0] - 1) * (used[1] - 1) / (2 * len(x) * float(np.log(2)))
    return max(0.0, information - chance)
