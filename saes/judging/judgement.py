"""What judging found: sums over the tokens of each row of text, and the scores and intervals made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.errors import InputError, offer
from workbench.probes.linear.scores import GroupDraws
from workbench.tasks.intervals import Interval, bootstrap_mean, bootstrap_means

if TYPE_CHECKING:
    import pandas as pd

MEASURES = (
    "loss",
    "kl",
    "loss_recovered",
    "loss_recovered_mean",
    "explained_variance",
    "cosine",
    "mse",
    "l0",
    "dead",
    "norm_ratio",
    "shrinkage",
)


@dataclass(frozen=True, eq=False)
class Measured:
    """One autoencoder on rows of text: one number a row, summed over its vectors where not said otherwise.

    Attributes:
        loss, kl: mean over tokens, of the model with the autoencoder spliced in; nats.
        fired: which features fired in the row.
        vectors: how many vectors a row has.
        error, energy, energy_made, products: squared length of what is left over, of the vectors and of their
            reconstructions, and the products of the two.
        total: sum of the vectors themselves.
    """

    loss: Float[Tensor, " rows"]
    fired: Bool[Tensor, "rows d_sae"]
    vectors: int
    kl: Float[Tensor, " rows"]
    l0: Float[Tensor, " rows"]
    cosine: Float[Tensor, " rows"]
    norm_ratio: Float[Tensor, " rows"]
    error: Float[Tensor, " rows"]
    energy: Float[Tensor, " rows"]
    total: Float[Tensor, "rows d_out"]
    energy_made: Float[Tensor, " rows"]
    products: Float[Tensor, " rows"]

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """Several batches of rows as one."""
        together: dict[str, Any] = {
            field.name: torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(cls)
            if field.name != "vectors"
        }
        return cls(vectors=parts[0].vectors, **together)


@dataclass(frozen=True, eq=False)
class Judgement:
    """How good autoencoders are on text; `table` has it all.

    Attributes:
        place: what is reconstructed.
        measured: by autoencoder, baselines and ablations included.
        clean_loss: the model's own loss, a row of text each; nats a token.
        length: tokens a row.
        k: features a token that the baselines use.
    """

    place: str
    measured: Mapping[str, Measured]
    clean_loss: Float[Tensor, " rows"]
    length: int
    k: int

    def __repr__(self) -> str:
        rows = len(self.clean_loss)
        return f"Judgement({', '.join(self.measured)} at {self.place}, {rows} rows of {self.length} tokens)"

    def table(self, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """One row an autoencoder, a baseline or an ablation, each score with ``_low`` and ``_high``.

        ``loss``: of the model with it spliced in, nats a token. ``kl``: from the model as it is, nats a token.
        ``loss_recovered``: the share of what zero ablation of the place costs that is not lost (1 the model itself, 0
        zero ablation); ``loss_recovered_mean`` the same against mean ablation. ``explained_variance``: 1 - squared
        error / squared distance from the mean. ``cosine``: of a vector with its reconstruction. ``mse``: mean squared
        error of a vector's numbers. ``l0``: features a vector. ``dead``: the share of features that never fire on the
        text. ``norm_ratio``: length of the reconstruction over that of the vector. ``shrinkage``: 1 - gamma, where
        1 / gamma is the factor that would bring the reconstruction nearest to the vector (Rajamanoharan et al. 2024,
        arXiv:2404.16014, the relative reconstruction bias); 0 is none.

        Intervals resample rows of text. That of ``dead`` is the basic bootstrap's (Davison and Hinkley 1997, section
        5.2), because a resample holds fewer different rows and so always has more dead features; more text can only
        find fewer, so what was counted is its upper end.

        Args:
            level: coverage of the intervals.
            seed: of the resampling.
        """
        import pandas as pd

        draws = GroupDraws(np.arange(len(self.clean_loss)), seed=seed)
        rows: list[dict[str, Any]] = []
        for name, one in self.measured.items():
            scores = self._scores(one, draws, level, seed)
            row: dict[str, Any] = {"autoencoder": name, "features": one.fired.shape[1], "rows": len(one.loss)}
            for measure in MEASURES:
                interval = scores[measure]
                row |= {measure: interval.mean, f"{measure}_low": interval.low, f"{measure}_high": interval.high}
            rows.append(row)
        own = bootstrap_mean(self.clean_loss, level=level, seed=seed) if draws.count > 1 else self._alone()
        rows.append({"autoencoder": "model", "rows": len(self.clean_loss), "loss": own.mean})
        rows[-1] |= {"loss_low": own.low, "loss_high": own.high, "kl": 0.0}
        rows[-1] |= {"loss_recovered": 1.0, "loss_recovered_mean": 1.0, "explained_variance": 1.0, "cosine": 1.0}
        return pd.DataFrame(rows)

    def difference(
        self, first: str, second: str, measure: str = "loss", *, level: float = 0.95, seed: int = 0
    ) -> Interval:
        """A score of one autoencoder less that of another, with an interval over rows that both have read.

        Args:
            measure: any of the columns of `table` but ``dead``.

        Raises:
            InputError: no such autoencoder or measure.
        """
        for name in (first, second):
            if name not in self.measured:
                raise InputError(f"Nothing here is called {name!r}; {offer(name, self.measured)}.")
        choices = [one for one in MEASURES if one != "dead"]
        if measure not in choices:
            raise InputError(f"No measure is called {measure!r}; {offer(measure, choices)}.")
        draws = GroupDraws(np.arange(len(self.clean_loss)), seed=seed)
        one, other = (self._drawn(self.measured[name], draws)[measure] for name in (first, second))
        return draws.interval(one - other, level)

    def _alone(self) -> Interval:
        return Interval(float(self.clean_loss.mean()), float("nan"), float("nan"))

    def _scores(self, one: Measured, draws: GroupDraws, level: float, seed: int) -> dict[str, Interval]:
        found = {name: draws.interval(values, level) for name, values in self._drawn(one, draws).items()}
        means = {"loss": one.loss, "kl": one.kl}
        means |= {name: getattr(one, name) / one.vectors for name in ("l0", "cosine", "norm_ratio")}
        if draws.count > 1:
            mean, low, high = bootstrap_means(torch.stack([*means.values()], 1), level=level, seed=seed)
            for number, name in enumerate(means):
                found[name] = Interval(float(mean[number]), float(low[number]), float(high[number]))
        return found | {"dead": _dead(one, draws, level)}

    def _drawn(self, one: Measured, draws: GroupDraws) -> dict[str, np.ndarray]:
        """Every score in every draw; the first draw is the text itself."""

        def summed(values: Tensor) -> np.ndarray:
            return draws.sums(values.numpy())

        rows = draws.sums(np.ones(len(one.loss)))
        vectors = rows * one.vectors
        totals = draws.weights @ one.total.numpy()
        spread = summed(one.energy) - (totals**2).sum(1) / vectors
        clean, loss = summed(self.clean_loss), summed(one.loss)
        zero, mean = (summed(self.measured[name].loss) for name in ("zero ablation", "mean ablation"))
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "loss": loss / rows,
                "kl": summed(one.kl) / rows,
                "loss_recovered": (zero - loss) / (zero - clean),
                "loss_recovered_mean": (mean - loss) / (mean - clean),
                "explained_variance": 1 - summed(one.error) / spread,
                "cosine": summed(one.cosine) / vectors,
                "mse": summed(one.error) / vectors / one.total.shape[1],
                "l0": summed(one.l0) / vectors,
                "norm_ratio": summed(one.norm_ratio) / vectors,
                "shrinkage": 1 - summed(one.energy_made) / summed(one.products),
            }


def _dead(one: Measured, draws: GroupDraws, level: float) -> Interval:
    """Share of features that never fire; see `Judgement.table` for its interval."""
    fired = one.fired.numpy().astype(np.float32)
    dead = float((fired.sum(0) == 0).mean())
    if draws.count == 1:
        return Interval(dead, float("nan"), float("nan"))
    # Features that fire are counted in parts: draws times features would not fit a small memory.
    weights = draws.weights[1:].astype(np.float32)
    resampled = np.zeros(len(weights))
    for start in range(0, fired.shape[1], 4096):
        resampled += (weights @ fired[:, start : start + 4096] == 0).sum(1)
    resampled /= fired.shape[1]
    low = 2 * dead - float(np.quantile(resampled, (1 + level) / 2))
    return Interval(dead, max(0.0, low), dead)
