"""Parallelograms of directions: is a relation one difference vector, and do distractors hide that it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from workbench.errors import InputError
from workbench.tasks.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Parallelograms:
    """How parallel the differences of pairs in one relation are, beside pairs of different relations.

    Attributes:
        cosines: mean cosine of two differences of one relation, by what was done to the space: ``as they are``,
            ``distractors out`` where directions were given, and ``discriminant`` (see `parallelograms`).
        between: mean cosine of differences of two relations, likewise.
        shuffled: what `cosines` is where partners are shuffled within the relations, a draw each.
        errors: mean of ``|(b - a) - (d - c)| / mean length of the two``, likewise: 0 of a parallelogram.
        limits: of the difference of `cosines` and `between`, over relations.
    """

    cosines: dict[str, float]
    between: dict[str, float]
    errors: dict[str, float]
    shuffled: dict[str, Float[np.ndarray, " draws"]]
    limits: dict[str, Interval]

    def table(self) -> pd.DataFrame:
        """One row a ``space``.

        ``cosine``, ``between``, ``error``; ``separation``: cosine - between, with limits over relations; ``shuffled``:
        mean cosine of shuffled pairs, and ``p``: the share of shuffles that are as parallel as the pairs are.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for space, cosine in self.cosines.items():
            chance, limits = self.shuffled[space], self.limits[space]
            rows.append(
                {
                    "space": space,
                    "cosine": cosine,
                    "between": self.between[space],
                    "error": self.errors[space],
                    "separation": limits.mean,
                    "separation_low": limits.low,
                    "separation_high": limits.high,
                    "shuffled": float(chance.mean()),
                    "p": float((1 + (chance >= cosine).sum()) / (1 + len(chance))),
                }
            )
        return pd.DataFrame(rows)


def parallelograms(
    first: Float[np.ndarray, "pairs d"],
    second: Float[np.ndarray, "others d"],
    relation: Sequence[Any] | Shaped[np.ndarray, " relations"],
    *,
    distractors: Float[np.ndarray, "directions d"] | None = None,
    directions: int | None = None,
    shuffles: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> Parallelograms:
    """Quality of the parallelograms ``a : b = c : d`` that pairs of one relation make, with and without distractors.

    Li et al. 2024 (arXiv:2410.19750, section 3): differences of country and capital are parallel only once directions
    that have nothing to do with it, such as a word's length, are projected out. Known ones are given as `distractors`.
    Unknown ones are found by linear discriminant analysis: of the differences, the directions are kept in which
    relations lie apart and pairs of one relation do not (largest generalised eigenvalues of the covariance between
    relations against the one within). It is fitted on one half of each relation's pairs and judged on the other, both
    ways, because with few pairs it would find parallels in noise.

    Args:
        first, second: vectors of the two sides of each pair.
        relation: which relation a pair is of; at least two relations of at least four pairs.
        distractors: directions to project out; they need not be orthogonal.
        directions: how many the discriminant analysis keeps; one less than there are relations by default.
        shuffles: draws in which the second sides of each relation change places.
        level: of the limits, over relations.
        seed: of the halves, the shuffles and the resampling.

    Raises:
        InputError: sides of different shapes, another number of relations, too few relations or pairs.
    """
    labels = np.unique(np.asarray(relation), return_inverse=True)[1]
    if first.shape != second.shape or len(labels) != len(first):
        raise InputError(
            f"The sides have shapes {[*first.shape]} and {[*second.shape]} and there are {len(labels)} relations; one "
            "of each a pair is needed."
        )
    counts = np.bincount(labels)
    if len(counts) < 2 or counts.min() < 4:
        raise InputError(
            f"There are {len(counts)} relations of {counts.min()} to {counts.max()} pairs; 2 of 4 at least."
        )
    a, b = first.astype(np.float64), second.astype(np.float64)
    generator = np.random.default_rng(seed)
    halves = _halves(labels, generator)
    kept = min(len(counts) - 1 if directions is None else directions, a.shape[1])
    spaces = ["as they are", *([] if distractors is None else ["distractors out"]), "discriminant"]

    def judged(space: str, differences: Float[np.ndarray, "pairs d"]) -> tuple[np.ndarray, np.ndarray, float]:
        if space == "distractors out" and distractors is not None:
            basis = np.linalg.svd(distractors.astype(np.float64), full_matrices=False)[2]
            differences = differences - differences @ basis.T @ basis
        if space != "discriminant":
            return _parallel(differences, labels)
        parts = [
            _parallel(differences[test] @ _discriminant(differences[~test], labels[~test], kept), labels[test])
            for test in (halves, ~halves)
        ]
        (within, between, error), (within_too, between_too, error_too) = parts
        return (within + within_too) / 2, (between + between_too) / 2, (error + error_too) / 2

    found = {space: judged(space, b - a) for space in spaces}
    shuffled = {space: np.zeros(shuffles) for space in spaces}
    for draw in range(shuffles):
        mixed = np.arange(len(labels))
        for one in range(len(counts)):
            rows = np.nonzero(labels == one)[0]
            mixed[rows] = generator.permutation(rows)
        for space in spaces:
            shuffled[space][draw] = judged(space, b[mixed] - a)[0].mean()
    return Parallelograms(
        {space: float(within.mean()) for space, (within, _, _) in found.items()},
        {space: float(between.mean()) for space, (_, between, _) in found.items()},
        {space: error for space, (_, _, error) in found.items()},
        shuffled,
        {space: _over_relations(within - between, level, seed) for space, (within, between, _) in found.items()},
    )


def _halves(labels: Int[np.ndarray, " pairs"], generator: np.random.Generator) -> np.ndarray:
    """Half of the pairs of every relation."""
    chosen = np.zeros(len(labels), dtype=bool)
    for one in np.unique(labels):
        rows = generator.permutation(np.nonzero(labels == one)[0])
        chosen[rows[: len(rows) // 2]] = True
    return chosen


def _parallel(
    differences: Float[np.ndarray, "pairs d"], labels: Int[np.ndarray, " pairs"]
) -> tuple[Float[np.ndarray, " relations"], Float[np.ndarray, " relations"], float]:
    """For each relation its mean cosine with itself and with the others, and the mean error of parallelograms."""
    lengths = np.linalg.norm(differences, axis=1)
    unit = differences / np.maximum(lengths, 1e-300)[:, None]
    cosines = unit @ unit.T
    distances = np.sqrt(np.maximum(lengths[:, None] ** 2 + lengths**2 - 2 * cosines * np.outer(lengths, lengths), 0))
    relative = distances / np.maximum((lengths[:, None] + lengths) / 2, 1e-300)
    same = labels[:, None] == labels
    pairs = same & ~np.eye(len(labels), dtype=bool)
    relations = np.unique(labels)
    within = np.array([cosines[pairs & (labels == one)[:, None]].mean() for one in relations])
    between = np.array([cosines[~same & (labels == one)[:, None]].mean() for one in relations])
    return within, between, float(relative[pairs].mean())


def _discriminant(
    differences: Float[np.ndarray, "pairs d"], labels: Int[np.ndarray, " pairs"], kept: int
) -> Float[np.ndarray, "d kept"]:
    """The directions in which relations lie apart and their pairs together."""
    from scipy.linalg import eigh

    means = np.stack([differences[labels == one].mean(0) for one in np.unique(labels)])
    spread = differences - means[labels]
    within = spread.T @ spread / len(differences)
    # Differences of few pairs leave most directions without any noise, which no number of dimensions has.
    within += 0.1 * np.trace(within) / len(within) * np.eye(len(within)) + 1e-12 * np.eye(len(within))
    between = means.T @ means / len(means)
    vectors: np.ndarray = eigh(between, within)[1][:, ::-1][:, :kept]
    return np.linalg.qr(vectors)[0]


def _over_relations(values: Float[np.ndarray, " relations"], level: float, seed: int) -> Interval:
    import torch

    from workbench.tasks.intervals import bootstrap_mean

    return bootstrap_mean(torch.from_numpy(values), level=level, seed=seed)
