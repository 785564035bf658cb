"""Matching the units of two models of any family on the same text, whatever their tokenizers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.linear.scores import GroupDraws
from workbench.saes.comparing.alignment import passages
from workbench.saes.comparing.assigning import best, mutual, one_to_one
from workbench.saes.comparing.moments import CrossMoments
from workbench.saes.comparing.prediction import PartnerMoments
from workbench.saes.comparing.units import Units, paired_values
from workbench.tasks.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd

COLUMNS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Matches:
    """Units of one model and their counterparts in another, chosen on one half of a text and tested on the other.

    Attributes:
        first, second: what was compared, for people.
        pairs: the one-to-one pairing, a unit of the first and one of the second each.
        fitted: correlation of the pairs on the half they were chosen on.
        sums: of the pairs on the other half, a passage each: tokens, x, y, x², y², xy.
        partners: the best units of the second for each unit of the first, which may share them, and `scores` their
            correlation.
        mutual: which units of the first are the best partner of their best partner.
        predicted: of each unit of the first, the share of its variance on the other half that a ridge regression on its
            partners predicts (R²).
        shuffled_best: the best correlation that each unit of the first finds where the second's tokens are shuffled
            within passages; `shuffled_pairs` those of the one-to-one pairing then, on the half it was chosen on.
        varies: which units of the first change on the text at all.
        absolute: whether a correlation's sign did not count; means are then of correlations taken with the sign that
            they had where the pair was chosen.
    """

    first: str
    second: str
    pairs: Int[Tensor, "pairs 2"]
    fitted: Float[Tensor, " pairs"]
    sums: Float[Tensor, "passages 6 pairs"]
    partners: Int[Tensor, "units partners"]
    scores: Float[Tensor, "units partners"]
    mutual: Bool[Tensor, " units"]
    predicted: Float[Tensor, " units"]
    shuffled_best: Float[Tensor, " units"]
    shuffled_pairs: Float[Tensor, " pairs"]
    varies: Bool[Tensor, " units"]
    absolute: bool

    def __repr__(self) -> str:
        return f"Matches({self.first} with {self.second}: {len(self.pairs)} pairs)"

    def table(self, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """One row a unit of the first that is in a pair, best pair first.

        ``unit``, ``partner``: the pair. ``correlation``, with ``_low`` and ``_high`` over passages: on text that the
        pair was not chosen on. ``fitted``: on the text that it was chosen on. ``best``, ``best_correlation``: the best
        partner regardless of others, on that text; ``mutual``: whether it finds this unit best, too.
        ``shuffled``: what the best of all partners reaches by chance there. ``predicted``: R² from the best partners
        together, on the other text.
        """
        import pandas as pd

        draws = GroupDraws(np.arange(len(self.sums)), seed=seed)
        limits = np.concatenate([_limits(part, draws, level) for part in self.sums.split(COLUMNS_AT_ONCE, dim=2)])
        units = self.pairs[:, 0]
        table = pd.DataFrame(
            {
                "unit": units.numpy(),
                "partner": self.pairs[:, 1].numpy(),
                "correlation": limits[:, 0],
                "correlation_low": limits[:, 1],
                "correlation_high": limits[:, 2],
                "fitted": self.fitted.numpy(),
                "best": self.partners[units, 0].numpy(),
                "best_correlation": self.scores[units, 0].numpy(),
                "mutual": self.mutual[units].numpy(),
                "shuffled": self.shuffled_best[units].numpy(),
                "predicted": self.predicted[units].numpy(),
            }
        )
        return table.sort_values("correlation", ascending=False, kind="stable", ignore_index=True)

    def summary(self, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """Means over units, one row a ``measure``: ``value`` with ``low`` and ``high`` over passages, and ``shuffled``.

        ``one_to_one``: mean correlation of the pairs on text that they were not chosen on. ``best``: mean of the best
        correlation of each unit, where it was chosen. ``predicted``: mean R². ``mutual``: share of units whose best
        partner finds them best. Units that never change on the text are left out.
        """
        import pandas as pd

        one = self.one_to_one(level=level, seed=seed)
        top = self.scores[:, 0].abs() if self.absolute else self.scores[:, 0]
        of_units = {"best": top, "predicted": self.predicted, "mutual": self.mutual.double()}
        rows = [
            {
                "measure": "one_to_one",
                "value": one.mean,
                "low": one.low,
                "high": one.high,
                "shuffled": float(self.shuffled_pairs.mean()),
            }
        ]
        for measure, values in of_units.items():
            mean = float(values[self.varies].double().nanmean())
            chance = float(self.shuffled_best[self.varies].mean()) if measure == "best" else float("nan")
            rows.append(
                {"measure": measure, "value": mean, "low": float("nan"), "high": float("nan"), "shuffled": chance}
            )
        return pd.DataFrame(rows)

    def one_to_one(self, *, level: float = 0.95, seed: int = 0) -> Interval:
        """Mean correlation of the pairs on text that they were not chosen on, with an interval over its passages."""
        draws = GroupDraws(np.arange(len(self.sums)), seed=seed)
        total = np.zeros(len(draws.weights))
        kept = 0
        signs = self.fitted.sign() if self.absolute else torch.ones_like(self.fitted)
        for part, sign in zip(self.sums.split(COLUMNS_AT_ONCE, dim=2), signs.split(COLUMNS_AT_ONCE), strict=True):
            found = _correlations(part, draws.weights) * sign.numpy()
            there = np.isfinite(found[0])
            total += np.nan_to_num(found[:, there]).sum(1)
            kept += int(there.sum())
        return draws.interval(total / max(kept, 1), level)


def match_features(
    first: Units,
    second: Units,
    texts: str | Iterable[str],
    *,
    partners: int = 5,
    absolute: bool = False,
    characters: int = 400,
    count: int | None = None,
    batch: int = 8,
    seed: int = 0,
    progress: bool = False,
) -> Matches:
    """Which unit of one model does what a unit of another does, on the same text.

    Values are compared at the places where both models have read the same characters. Only sums over tokens are kept.
    Every other passage is what units are matched on, by Pearson's correlation; the rest is what matches are tested on,
    because the best of many correlations is large by chance.

    Args:
        first, second: `Units.of` a model and an autoencoder, a hook or a `VectorSite`.
        texts: one or several.
        partners: how many units of the second may together predict one of the first.
        absolute: match by the correlation's size, whatever its sign: for coordinates, which have no sign of their own.
        characters, count: passages; see `workbench.saes.comparing.passages`.
        seed: of the shuffling.
        progress: show progress bars.

    Raises:
        InputError: fewer than two passages, no place that both models share, or too many units for the memory.
    """
    parts = passages(texts, characters, count)
    if len(parts) < 2:
        raise InputError("One passage is matched on and cannot be tested on as well; give more text.")
    if partners < 1:
        raise InputError(f"partners is {partners}; a unit is predicted by at least one other.")
    halves = [parts[0::2], parts[1::2]]
    longest = max(len(part) for part in parts)
    values = partial(paired_values, first, second, characters=longest, batch=batch, progress=progress)

    moments: CrossMoments | None = None
    shuffled: CrossMoments | None = None
    generator = torch.Generator().manual_seed(seed)
    for one, other in values(halves[0], what="matching"):
        if moments is None or shuffled is None:
            moments, shuffled = (CrossMoments(one.shape[1], other.shape[1]) for _ in range(2))
        moments.add(one, other)
        shuffled.add(one, other[torch.randperm(len(other), generator=generator).to(other.device)])
    assert moments is not None and shuffled is not None  # paired_values yields or refuses
    varies, partner_varies = (variance > 0 for variance in moments.variances())
    # Tables of all units with all units, of which no more than two are held at a time, and one in float64.
    by_chance = shuffled.correlation(last=True)
    by_chance = by_chance.abs_() if absolute else by_chance
    shuffled_best = by_chance.max(1).values.double()
    shuffled_pairs = by_chance[_living(one_to_one(by_chance), varies, partner_varies)].double()
    del by_chance, shuffled
    signed = moments.correlation(last=True)
    scores = signed.abs() if absolute else signed
    rows, columns = _living(one_to_one(scores), varies, partner_varies)
    chosen = best(scores, partners)[1]
    fitted, partner_scores = signed[rows, columns].double(), signed.gather(1, chosen).double()
    both_ways = mutual(scores) & varies
    del signed, scores
    fitting = PartnerMoments(chosen, moments)
    sums: list[Tensor] = []
    for one, other in values(halves[0], what="fitting partners"):
        fitting.add(one, other)
    testing = PartnerMoments(chosen, moments)
    for one, other in values(halves[1], what="testing"):
        testing.add(one, other)
        sums.append(_sums(one[:, rows], other[:, columns], moments, rows, columns))
    return Matches(
        first.name,
        second.name,
        torch.stack([rows, columns], 1),
        fitted,
        torch.stack(sums),
        chosen,
        partner_scores,
        both_ways,
        testing.explained_by(fitting.ridge()),
        shuffled_best,
        shuffled_pairs,
        varies,
        absolute,
    )


def _living(pairs: tuple[Tensor, Tensor], first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of which both sides change on the text: dead features are paired with what is left over."""
    there = first[pairs[0]] & second[pairs[1]]
    return pairs[0][there], pairs[1][there]


def _sums(one: Tensor, other: Tensor, moments: CrossMoments, rows: Tensor, columns: Tensor) -> Tensor:
    """Tokens, x, y, x², y², xy of pairs in one passage: ``[6, pairs]``."""
    assert moments.shift is not None
    x = one.double().cpu() - moments.shift[0][rows]
    y = other.double().cpu() - moments.shift[1][columns]
    count = torch.full_like(x[0], float(len(x)))
    return torch.stack([count, x.sum(0), y.sum(0), x.square().sum(0), y.square().sum(0), (x * y).sum(0)])


def _correlations(sums: Float[Tensor, "passages 6 pairs"], weights: np.ndarray) -> np.ndarray:
    """Correlation of every pair in every draw of passages; NaN where one side never changes."""
    n, x, y, xx, yy, xy = np.einsum("dp,psk->sdk", weights, sums.numpy(), optimize=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_x, spread_y = xx - x * x / n, yy - y * y / n
        spread_x[spread_x <= 1e-12 * np.abs(xx)] = np.nan
        spread_y[spread_y <= 1e-12 * np.abs(yy)] = np.nan
        found: np.ndarray = (xy - x * y / n) / np.sqrt(spread_x * spread_y)
    return found


def _limits(sums: Float[Tensor, "passages 6 pairs"], draws: GroupDraws, level: float) -> np.ndarray:
    found = _correlations(sums, draws.weights)
    if draws.count == 1:
        nothing = np.full(found.shape[1], np.nan)
        return np.stack([found[0], nothing, nothing], 1)
    # A draw in which a side never changes has no correlation; a pair without any has no limits.
    known = np.isfinite(found[0])
    limits = np.full((2, found.shape[1]), np.nan)
    if known.any():
        limits[:, known] = np.nanquantile(found[1:, known], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.stack([found[0], limits[0], limits[1]], 1)
