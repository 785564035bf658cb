"""Lobes: do features that fire together lie together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.judging.reading import Source, token_windows
from workbench.saes.site import VectorSite, read_vectors
from workbench.tokens import check_choice

if TYPE_CHECKING:
    import pandas as pd

AFFINITIES = ("phi", "jaccard", "dice", "overlap", "matching")
MOST_FEATURES = 8192


@dataclass(frozen=True, eq=False)
class CoOccurrence:
    """In how many stretches of text features fire together.

    Attributes:
        features: which, of those of the autoencoder.
        together: in how many stretches both of two fire; on the diagonal, one.
        stretches: how many there are.
    """

    features: Int[Tensor, " features"]
    together: Float[Tensor, "features features"]
    stretches: int

    def affinity(self, kind: str = "phi") -> Float[np.ndarray, "features features"]:
        """How much two features fire together beyond how often they fire.

        ``phi``: the correlation of the two firing; ``jaccard``, ``dice``, ``overlap``: both fire, over either, over the
        mean of both, over the rarer; ``matching``: both fire or neither. What is below 0 counts as 0.

        Raises:
            InputError: another kind.
        """
        check_choice("affinity", kind, AFFINITIES)
        both = self.together.double().numpy()
        alone, n = both.diagonal(), self.stretches
        one, other = alone[:, None], alone[None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "phi": lambda: (n * both - one * other) / np.sqrt(one * (n - one) * other * (n - other)),
                "jaccard": lambda: both / (one + other - both),
                "dice": lambda: 2 * both / (one + other),
                "overlap": lambda: both / np.minimum(one, other),
                "matching": lambda: (n - one - other + 2 * both) / n,
            }[kind]()
        # A feature that fires in every stretch says nothing about any other.
        affinity: np.ndarray = np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
        return affinity


def co_occurrence(
    fired: Iterable[Bool[Tensor, "stretches d_sae"]], *, least: float = 1e-3, most: float = 0.5
) -> CoOccurrence:
    """Count features that fire in the same stretches of text.

    Args:
        fired: whether each feature fires in each stretch, some stretches at a time.
        least, most: shares of stretches in which a feature must fire to be counted: nothing can be said of one that
            hardly ever or nearly always fires.

    Raises:
        InputError: no stretch; fewer than three features are left, or more than `MOST_FEATURES`.
    """
    kept = [part.to(torch.bool).cpu() for part in fired]
    whole = torch.cat(kept) if kept else torch.zeros(0, 0, dtype=torch.bool)
    if len(whole) == 0:
        raise InputError("There is no stretch of text to count in.")
    share = whole.double().mean(0)
    chosen = ((share >= max(least, 1 / len(whole))) & (share <= most)).nonzero()[:, 0]
    if len(chosen) < 3:
        raise InputError(f"{len(chosen)} features fire in {least:.2%} to {most:.0%} of the stretches; 3 are needed.")
    if len(chosen) > MOST_FEATURES:
        raise InputError(f"{len(chosen)} features are too many for spectral clustering; raise least.")
    rows = whole[:, chosen].float()
    return CoOccurrence(chosen, rows.T @ rows, len(rows))


def read_co_occurrence(
    model: HookedModel,
    sae: SparseAutoencoder,
    source: Source,
    *,
    stretch: int = 256,
    windows: int | None = None,
    least: float = 1e-3,
    most: float = 0.5,
    site: VectorSite | None = None,
    batch: int = 8,
    progress: bool = False,
) -> CoOccurrence:
    """Count which features fire in the same stretches of `stretch` tokens of a text.

    Raises:
        InputError: as `co_occurrence`, and as `workbench.saes.judging.token_windows`.
    """
    at = sae.site(model) if site is None else site
    rows = token_windows(model, source, stretch, windows)

    def fired() -> Iterable[Bool[Tensor, "stretches d_sae"]]:
        for tokens in tracked(list(rows.split(batch)), progress, "counting features that fire together"):
            vectors = read_vectors(model, tokens.to(model.cfg.device), [at])[0][0]
            with torch.no_grad():
                yield torch.stack([(sae.encode(one) != 0).any(0) for one in vectors])

    return co_occurrence(fired(), least=least, most=most)


@dataclass(frozen=True, eq=False)
class Lobes:
    """Clusters of features by what they fire with, and by where they point.

    Attributes:
        features: which features were clustered.
        by_firing, by_direction: cluster of each.
        information: adjusted mutual information of the two (Vinh et al. 2010): 0 by chance, 1 if they are the same.
        shuffled: the same where the features' directions change places, a draw each.
        predicted: balanced accuracy with which a logistic regression tells `by_firing` from directions, on features
            held out; `predicted_shuffled` for features that have changed places.
    """

    features: Int[Tensor, " features"]
    by_firing: Int[np.ndarray, " features"]
    by_direction: Int[np.ndarray, " features"]
    information: float
    shuffled: Float[np.ndarray, " draws"]
    predicted: float
    predicted_shuffled: float

    @property
    def z(self) -> float:
        """Standard deviations of shuffled values that `information` lies above their mean."""
        spread = float(self.shuffled.std())
        return (self.information - float(self.shuffled.mean())) / spread if spread else float("inf")

    @property
    def p(self) -> float:
        """Share of shuffles that reach `information`, the data itself counted as one."""
        return float((1 + (self.shuffled >= self.information).sum()) / (1 + len(self.shuffled)))

    def table(self) -> pd.DataFrame:
        """One row a feature: ``feature``, ``by_firing``, ``by_direction``."""
        import pandas as pd

        return pd.DataFrame(
            {"feature": self.features.numpy(), "by_firing": self.by_firing, "by_direction": self.by_direction}
        )


def lobes(
    directions: Float[Tensor, "d_sae d"],
    counted: CoOccurrence,
    *,
    clusters: int = 2,
    affinity: str = "phi",
    draws: int = 200,
    seed: int = 0,
) -> Lobes:
    """Whether features that fire together lie together (Li et al. 2024, arXiv:2410.19750, section 4).

    Features are clustered twice, by spectral clustering: by `CoOccurrence.affinity`, and by the angle of their
    directions.

    Args:
        directions: of all features of the autoencoder: `SparseAutoencoder.directions`.
        clusters: how many lobes.
        draws: in which directions change places.

    Raises:
        InputError: fewer features than clusters, or fewer than two clusters.
    """
    from sklearn.cluster import SpectralClustering
    from sklearn.metrics import adjusted_mutual_info_score

    count = len(counted.features)
    if not 2 <= clusters < count:
        raise InputError(f"{clusters} clusters of {count} features: at least 2, and fewer than features, are needed.")
    own = directions.detach().double().cpu()[counted.features]
    own = own / own.norm(dim=1, keepdim=True).clamp(min=1e-30)
    angles = 1 - torch.arccos((own @ own.T).clamp(-1, 1)).numpy() / np.pi
    by_firing, by_direction = (
        SpectralClustering(clusters, affinity="precomputed", random_state=seed, assign_labels="kmeans").fit_predict(
            _connected(matrix)
        )
        for matrix in (counted.affinity(affinity), angles)
    )
    generator = np.random.default_rng(seed)
    mixed = [adjusted_mutual_info_score(by_firing, generator.permutation(by_direction)) for _ in range(draws)]
    points = own.numpy()
    return Lobes(
        counted.features,
        by_firing,
        by_direction,
        float(adjusted_mutual_info_score(by_firing, by_direction)),
        np.array(mixed),
        _predicted(points, by_firing, seed),
        _predicted(points[generator.permutation(count)], by_firing, seed),
    )


def _connected(affinity: Float[np.ndarray, "features features"]) -> Float[np.ndarray, "features features"]:
    """A weak tie between all, since spectral clustering needs a graph in one piece."""
    tied: np.ndarray = affinity + 1e-6
    np.fill_diagonal(tied, 1.0)
    return tied


def _predicted(points: Float[np.ndarray, "features d"], clusters: Int[np.ndarray, " features"], seed: int) -> float:
    """Balanced accuracy over folds; NaN where a cluster is too small to be in each."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = min(5, int(np.bincount(clusters).min()))
    if folds < 2:
        return float("nan")
    fit = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return float(balanced_accuracy_score(clusters, cross_val_predict(fit, points, clusters, cv=splitter)))
