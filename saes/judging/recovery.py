"""Recovery of features that are known: data made of a dictionary's directions, as SAELens' synthetic benchmark does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.comparing.assigning import one_to_one
from workbench.tasks.intervals import bootstrap_means

if TYPE_CHECKING:
    import pandas as pd

OF_FEATURES = ("precision", "recall", "f1", "accuracy")
OF_BATCHES = ("true_l0", "l0", "norm_ratio")


@dataclass(frozen=True, eq=False)
class Recovery:
    """How well an autoencoder's features are those that data was made of. `table` has it all.

    Attributes:
        cosines: absolute cosines of the best one-to-one pairing of its directions with the true ones.
        pairs: that pairing, a feature and a true one each.
        nearest: of each feature, the true one with the largest absolute cosine.
        of_features: by measure, a number a feature: how well its firing tells that of the true one it is nearest to.
        of_batches: by measure, the mean of each batch.
        explained_variance: on all vectors.
        dead: features that never fired.
    """

    cosines: Float[Tensor, " pairs"]
    pairs: Int[Tensor, "pairs 2"]
    nearest: Int[Tensor, " d_sae"]
    of_features: dict[str, Float[Tensor, " d_sae"]]
    of_batches: dict[str, Float[Tensor, " batches"]]
    explained_variance: float
    dead: int

    @property
    def mcc(self) -> float:
        """Mean correlation coefficient: the mean of `cosines` (O'Neill et al. and others, arXiv:2505.20254)."""
        return float(self.cosines.mean())

    @property
    def uniqueness(self) -> float:
        """Share of features that would be left if no two were nearest to the same true one."""
        return len(self.nearest.unique()) / len(self.nearest)

    def table(self, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """One row a ``measure``: ``value``, ``low``, ``high``.

        ``mcc`` with limits over pairs; ``uniqueness``; ``precision``, ``recall``, ``f1`` and ``accuracy``, means over
        features with limits over them; ``true_l0``, ``l0`` and ``norm_ratio`` (length of the reconstruction over that
        of the vector) with limits over batches; ``explained_variance``; ``dead``, a count.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        columns = {"mcc": self.cosines, **self.of_features, **self.of_batches}
        for name, values in columns.items():
            interval = (values.mean(), float("nan"), float("nan"))
            if len(values) > 1:
                found = bootstrap_means(values[:, None], level=level, seed=seed, units="features")
                interval = (found.mean[0], float(found.low[0]), float(found.high[0]))
            rows.append({"measure": name, "value": float(interval[0]), "low": interval[1], "high": interval[2]})
        for name in ("uniqueness", "explained_variance", "dead"):
            value = float(getattr(self, name))
            rows.append({"measure": name, "value": value, "low": float("nan"), "high": float("nan")})
        return pd.DataFrame(rows)


@torch.no_grad()
def judge_recovery(
    sae: SparseAutoencoder,
    dictionary: Float[Tensor, "true d_in"],
    batches: Iterable[tuple[Float[Tensor, "batch true"], Float[Tensor, "batch d_in"]]],
) -> Recovery:
    """Compare an autoencoder's features with those that vectors were made of; numbers are SAELens' for the same data.

    Args:
        dictionary: the true directions.
        batches: true activations, and the vectors made of them; `synthetic_batches` makes them of SAELens' objects.

    Raises:
        InputError: a dictionary of another width, or no batch.
    """
    if dictionary.shape[1] != sae.cfg.width_out:
        raise InputError(f"The dictionary has {dictionary.shape[1]} numbers a feature; {sae.cfg.width_out} are needed.")
    similarity = _cosines(sae.directions().double(), dictionary.double().to(sae.W_dec.device)).abs().cpu()
    rows, columns = one_to_one(similarity)
    nearest = similarity.argmax(1)
    counts = torch.zeros(4, sae.cfg.d_sae, dtype=torch.float64)
    means: dict[str, list[float]] = {name: [] for name in OF_BATCHES}
    error, energy, seen = 0.0, 0.0, 0
    total = torch.zeros(sae.cfg.width_out, dtype=torch.float64)
    for activations, vectors in batches:
        features = sae.encode(vectors)
        made, x = sae.decode(features, vectors).double().cpu(), vectors.double().cpu()
        fires, true = (features != 0).cpu(), (activations > 0).cpu()
        there = true[:, nearest]
        for row, one in enumerate((fires & there, fires & ~there, ~fires & there, ~fires & ~there)):
            counts[row] += one.sum(0)
        lengths = x.norm(dim=1)
        known = lengths > 1e-6
        means["true_l0"].append(float(true.double().sum(1).mean()))
        means["l0"].append(float(fires.double().sum(1).mean()))
        means["norm_ratio"].append(float((made.norm(dim=1)[known] / lengths[known]).mean()))
        error += float((x - made).square().sum())
        energy += float(x.square().sum())
        total += x.sum(0)
        seen += len(x)
    if not seen:
        raise InputError("There is no batch to judge on.")
    spread = energy - float(total.square().sum()) / seen
    return Recovery(
        similarity[rows, columns],
        torch.stack([rows, columns], 1),
        nearest,
        _told(counts),
        {name: torch.tensor(values, dtype=torch.float64) for name, values in means.items()},
        1 - error / spread if spread > 0 else float(error == 0),
        int((counts[0] + counts[1] == 0).sum()),
    )


def synthetic_batches(
    dictionary: Any, generator: Any, samples: int = 100_000, batch: int = 10_000
) -> Iterator[tuple[Float[Tensor, "batch true"], Float[Tensor, "batch d_in"]]]:
    """Samples of SAELens' ``ActivationGenerator``, and the vectors that its ``FeatureDictionary`` makes of them."""
    for start in range(0, samples, batch):
        with torch.no_grad():
            activations = generator.sample(min(batch, samples - start))
            vectors = dictionary(activations)
        # Not within the block above: whoever takes the batches may want gradients of their own.
        yield activations, vectors


def _cosines(first: Float[Tensor, "first d"], second: Float[Tensor, "second d"]) -> Float[Tensor, "first second"]:
    one, other = (side / side.norm(dim=1, keepdim=True).clamp(min=1e-8) for side in (first, second))
    found: Tensor = one @ other.T
    return found


def _told(counts: Float[Tensor, "four d_sae"]) -> dict[str, Float[Tensor, " d_sae"]]:
    """Precision, recall, their harmonic mean and accuracy; 0 where nothing says."""
    hits, false, missed, quiet = counts

    def share(part: Tensor, whole: Tensor) -> Tensor:
        return torch.where(whole > 0, part / whole.clamp(min=1), torch.zeros_like(part))

    precision, recall = share(hits, hits + false), share(hits, hits + missed)
    values = (precision, recall, share(2 * hits, 2 * hits + false + missed), share(hits + quiet, counts.sum(0)))
    return dict(zip(OF_FEATURES, values, strict=True))
