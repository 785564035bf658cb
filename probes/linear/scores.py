"""How good held-out predictions are, with intervals from resampling whole groups.

Scores such as R² are ratios of means over groups, so all their parts are resampled together: the groups of a draw are
drawn with replacement, as `workbench.tasks.bootstrap_means` draws rows, and the score is computed anew.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped

from workbench.tasks.intervals import Interval

DRAWS = 1000
# The area under the curve sorts rows anew in every draw.
AUC_DRAWS = 200


class GroupDraws:
    """Groups drawn with replacement: how often each is in each draw.

    The first draw is the data itself.
    """

    def __init__(self, groups: Shaped[np.ndarray, " rows"], draws: int = DRAWS, seed: int = 0) -> None:
        self.numbers = np.unique(groups, return_inverse=True)[1]
        self.count = int(self.numbers.max()) + 1
        # The table of weights stays below 160 MB.
        draws = min(draws, max(100, 20_000_000 // self.count))
        drawn = np.random.default_rng(seed).multinomial(self.count, np.full(self.count, 1 / self.count), size=draws)
        self.weights = np.concatenate([np.ones((1, self.count)), drawn])

    def sums(self, values: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " draws"]:
        """Sum over the rows of each draw."""
        found: Float[np.ndarray, " draws"] = self.weights @ np.bincount(
            self.numbers, weights=values, minlength=self.count
        )
        return found

    def interval(self, scores: Float[np.ndarray, " draws"], level: float) -> Interval:
        """Score of the data, and the percentile limits over the draws; limits are NaN for a single group."""
        if self.count == 1:
            return Interval(float(scores[0]), float("nan"), float("nan"))
        known = scores[1:][np.isfinite(scores[1:])]
        if len(known) == 0:
            return Interval(float(scores[0]), float("nan"), float("nan"))
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        return Interval(float(scores[0]), float(low), float(high))


def regression_scores(
    labels: Float[np.ndarray, "rows outputs"],
    predictions: Float[np.ndarray, "rows outputs"],
    draws: GroupDraws,
    level: float = 0.95,
) -> dict[str, Interval]:
    """``r2`` (coefficient of determination), ``correlation`` (Pearson) and ``rmse``; several outputs are averaged."""
    found = {
        "r2": r2_draws(labels, predictions, draws),
        "correlation": correlation_draws(labels, predictions, draws),
        "rmse": np.sqrt(np.stack([draws.sums(e) for e in ((labels - predictions) ** 2).T]) / _rows(draws)).mean(axis=0),
    }
    return {name: draws.interval(values, level) for name, values in found.items()}


def r2_draws(
    labels: Float[np.ndarray, "rows outputs"], predictions: Float[np.ndarray, "rows outputs"], draws: GroupDraws
) -> Float[np.ndarray, " draws"]:
    """One minus the square error over the square deviation from each draw's own mean; outputs are averaged."""
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [
            1 - draws.sums((y - p) ** 2) / _products(y, y, draws) for y, p in zip(labels.T, predictions.T, strict=True)
        ]
    averaged: Float[np.ndarray, " draws"] = np.mean(parts, axis=0)
    return averaged


def correlation_draws(
    labels: Float[np.ndarray, "rows outputs"], predictions: Float[np.ndarray, "rows outputs"], draws: GroupDraws
) -> Float[np.ndarray, " draws"]:
    """Pearson's correlation in each draw; outputs are averaged."""
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [
            _products(y, p, draws) / np.sqrt(_products(y, y, draws) * _products(p, p, draws))
            for y, p in zip(labels.T, predictions.T, strict=True)
        ]
    averaged: Float[np.ndarray, " draws"] = np.mean(parts, axis=0)
    return averaged


def _rows(draws: GroupDraws) -> Float[np.ndarray, " draws"]:
    return draws.sums(np.ones(len(draws.numbers)))


def _products(
    a: Float[np.ndarray, " rows"], b: Float[np.ndarray, " rows"], draws: GroupDraws
) -> Float[np.ndarray, " draws"]:
    """Sum of the products of deviations from each draw's means."""
    # Centred first, so that the differences below lose no digits to a large mean.
    a, b = a - a.mean(), b - b.mean()
    found: Float[np.ndarray, " draws"] = draws.sums(a * b) - draws.sums(a) * draws.sums(b) / _rows(draws)
    return found


def classification_scores(
    labels: Int[np.ndarray, " rows"],
    probabilities: Float[np.ndarray, "rows classes"],
    draws: GroupDraws,
    level: float = 0.95,
) -> dict[str, Interval]:
    """``accuracy``, ``auc`` (area under the ROC curve; of more classes the mean of one against the rest), ``log_loss``.

    Log loss is in nats. `labels` number the columns of `probabilities`.
    """
    n = draws.sums(np.ones(len(labels)))
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    surprise = -np.log(probabilities[np.arange(len(labels)), labels].clip(1e-15))
    classes = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = np.mean([areas_under_curve(labels == c, probabilities[:, c], draws) for c in classes], axis=0)
    return {
        "accuracy": draws.interval(draws.sums(right) / n, level),
        "auc": draws.interval(areas, level),
        "log_loss": draws.interval(draws.sums(surprise) / n, level),
    }


def areas_under_curve(
    positive: Shaped[np.ndarray, " rows"], scores: Float[np.ndarray, " rows"], draws: GroupDraws
) -> Float[np.ndarray, " draws"]:
    """The chance that a positive row scores above a negative one, ties counting half, in each of the first draws."""
    values, place = np.unique(scores, return_inverse=True)
    areas = []
    for weights in draws.weights[: AUC_DRAWS + 1]:
        of_rows = weights[draws.numbers]
        up = np.bincount(place, weights=of_rows * positive, minlength=len(values))
        down = np.bincount(place, weights=of_rows * ~positive, minlength=len(values))
        pairs = up.sum() * down.sum()
        below = np.cumsum(down) - down / 2
        areas.append((up * below).sum() / pairs if pairs else float("nan"))
    return np.array(areas)
