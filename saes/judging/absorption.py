"""Absorption: a feature that is silent where a more special one fires, and speaks for it (Chanin et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.linear.fitting import fit_probe, standardise
from workbench.probes.linear.holdout import grouped_folds
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.judging.places import features_of

SPLITS = 0.03
"""A further feature counts as one that the concept is split into where it lifts F1 by this much (section 4)."""
COSINE = 0.025
"""Cosine with the probe that a feature needs to be the one that absorbed a concept (section 5)."""
SHARE = 0.4
"""Share of the probe's projection that absorbing features carry: SAEBench's measure without ablations."""
FRACTION_COSINE, FRACTION_FEATURES = 0.1, 3
"""Cosine that each of the features needs which together absorb a part of a concept, and how many count at most."""


@dataclass(frozen=True, eq=False)
class ConceptAbsorption:
    """Absorption of one concept, on rows whose groups the probe and the choice of features have not seen.

    Attributes:
        features: those that the concept is split into, best first; `f1` of a probe on them, and `probe_f1` of a probe
            on the vectors themselves, both on rows held out.
        rows: the true positives of the probe, as indices into what was given.
        groups: their groups.
        full: where none of `features` fires and the feature with the largest part of the projection absorbs it alone.
        fraction: how much of the concept other features carry, from 0 to 1.
        absorber: the feature with the largest part of the projection, `share` its part; -1 where nothing is absorbed.
    """

    features: tuple[int, ...]
    f1: float
    probe_f1: float
    rows: Int[np.ndarray, " positives"]
    groups: Shaped[np.ndarray, " positives"]
    full: Bool[np.ndarray, " positives"]
    fraction: Float[np.ndarray, " positives"]
    absorber: Int[np.ndarray, " positives"]
    share: Float[np.ndarray, " positives"]


def absorption(
    sae: SparseAutoencoder,
    vectors: Float[Tensor, "rows d_in"],
    positive: Bool[np.ndarray, " rows"],
    groups: Shaped[np.ndarray, " rows"],
    *,
    features: Float[np.ndarray, "rows d_sae"] | None = None,
    most_splits: int = 10,
    folds: int = 3,
    seed: int = 0,
) -> ConceptAbsorption:
    """How far a concept that a linear probe reads off vectors is absorbed by features that stand for something else.

    As in Chanin et al. 2024 (arXiv:2409.14507, sections 4 and 5), with SAEBench's shares of the probe's projection in
    the place of ablations: on rows that the probe gets right, a concept is absorbed in full where none of the features
    that it is split into fires and another one, aligned with the probe, carries at least `SHARE` of the projection.
    `fraction` counts in part what several features carry. Projections are of what the decoder's bias leaves of a
    vector.

    Args:
        vectors: what the autoencoder reads.
        positive: where the concept is.
        groups: rows of one group, such as the occurrences of one token, are held out together.
        features: those of the vectors, where they have been computed.
        most_splits: features that a concept may be split into.
        folds: each group is tested once, by a probe and features that were chosen on the other folds; the features
            that are told are those of the first fold.
        seed: of the folds.

    Raises:
        InputError: an autoencoder that reads what it does not write or takes the scale out; rows of one kind only, or
            too few groups of a kind.
    """
    if sae.cfg.transcodes or sae.cfg.normalize_activations != "none":
        raise InputError(
            "Absorption compares projections of vectors and of features, so it takes an autoencoder that writes what "
            "it reads, in its own scale."
        )
    for kind, where in (("positive", positive), ("negative", ~positive)):
        if len(np.unique(groups[where])) < folds:
            raise InputError(f"There are {len(np.unique(groups[where]))} groups of {kind} rows; {folds} are needed.")
    found = features_of(sae, vectors) if features is None else features
    values = vectors.float().cpu().numpy()
    parts: list[ConceptAbsorption] = []
    for train, test in _stratified(positive, groups, folds, seed):
        parts.append(_of_fold(sae, values, found, positive, groups, train, test, most_splits, seed))
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("rows", "groups", "full", "fraction", "absorber", "share")
    }
    f1, probe_f1 = (float(np.mean([getattr(part, name) for part in parts])) for name in ("f1", "probe_f1"))
    return ConceptAbsorption(parts[0].features, f1, probe_f1, **joined)


def f1_score(positive: Bool[np.ndarray, " rows"], said: Bool[np.ndarray, " rows"]) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is right."""
    right = int((positive & said).sum())
    return 2 * right / max(int(positive.sum()) + int(said.sum()), 1)


def _stratified(
    positive: Bool[np.ndarray, " rows"], groups: Shaped[np.ndarray, " rows"], folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of whole groups with groups of both kinds in each."""
    made: list[np.ndarray] = [np.zeros(len(groups), dtype=bool) for _ in range(folds)]
    for where in (positive, ~positive):
        rows = np.nonzero(where)[0]
        for number, (_, test) in enumerate(grouped_folds(groups[rows], folds, seed)):
            made[number][rows[test]] = True
    # A group of both kinds is held out with both of them.
    for number, mask in enumerate(made):
        made[number] = np.isin(groups, groups[mask & positive]) | (mask & ~np.isin(groups, groups[positive]))
    return [(np.nonzero(~mask)[0], np.nonzero(mask)[0]) for mask in made]


def _of_fold(
    sae: SparseAutoencoder,
    values: Float[np.ndarray, "rows d_in"],
    features: Float[np.ndarray, "rows d_sae"],
    positive: Bool[np.ndarray, " rows"],
    groups: Shaped[np.ndarray, " rows"],
    train: Int[np.ndarray, " _"],
    test: Int[np.ndarray, " _"],
    most_splits: int,
    seed: int,
) -> ConceptAbsorption:
    probe = fit_probe(values[train], positive[train], "logistic", seed=seed)
    said = probe.scores(values[test])[:, 0] > 0
    main, f1 = _splits(features, positive, groups, train, test, most_splits, seed)
    rows = test[positive[test] & said]
    direction = torch.from_numpy(probe.direction).float()
    written = sae.directions().float().cpu()
    along = (written @ direction).numpy()
    cosines = along / written.norm(dim=1).clamp(min=1e-30).numpy()
    whole = (values[rows] - sae.b_dec.float().cpu().numpy()) @ direction.numpy()
    each = features[rows] * along
    full, share, absorber = _in_full(features[rows], each, cosines, whole, main)
    return ConceptAbsorption(
        tuple(int(one) for one in main),
        f1,
        f1_score(positive[test], said),
        rows,
        groups[rows],
        full,
        _in_part(each, cosines, whole, main),
        absorber,
        share,
    )


def _in_full(
    features: Float[np.ndarray, "positives d_sae"],
    each: Float[np.ndarray, "positives d_sae"],
    cosines: Float[np.ndarray, " d_sae"],
    whole: Float[np.ndarray, " positives"],
    main: Int[np.ndarray, " splits"],
) -> tuple[Bool[np.ndarray, " positives"], Float[np.ndarray, " positives"], Int[np.ndarray, " positives"]]:
    """Where one feature absorbs the concept, the share that the largest feature carries, and which one absorbs it."""
    top = each.argmax(1) if len(each) else np.zeros(0, dtype=np.int64)
    share = each[np.arange(len(each)), top] / np.where(whole > 0, whole, np.inf)
    silent = (features[:, main] == 0).all(1)
    full = silent & (cosines[top] >= COSINE) & (share >= SHARE)
    return full, share, np.where(full, top, -1)


def _in_part(
    each: Float[np.ndarray, "positives d_sae"],
    cosines: Float[np.ndarray, " d_sae"],
    whole: Float[np.ndarray, " positives"],
    main: Int[np.ndarray, " splits"],
) -> Float[np.ndarray, " positives"]:
    """How much of the concept features other than its own carry, as SAEBench counts it."""
    own = each[:, main].sum(1)
    others = np.where(cosines >= FRACTION_COSINE, each, 0).clip(min=0)
    others[:, main] = 0
    taken = np.sort(others, axis=1)[:, -FRACTION_FEATURES:].sum(1)
    missing = np.minimum(taken, whole - own)
    with np.errstate(divide="ignore", invalid="ignore"):
        partly = np.where(own <= 0, 1.0, missing / (missing + own))
    counted = (own < whole) & (whole > 0) & (taken >= SHARE * whole)
    found: np.ndarray = np.where(counted, partly, 0.0)
    return found


def _splits(
    features: Float[np.ndarray, "rows d_sae"],
    positive: Bool[np.ndarray, " rows"],
    groups: Shaped[np.ndarray, " rows"],
    train: Int[np.ndarray, " _"],
    test: Int[np.ndarray, " _"],
    most: int,
    seed: int,
) -> tuple[Int[np.ndarray, " splits"], float]:
    """The features that a concept is split into, and F1 of a probe on them on the test rows."""
    # How many there are is decided on groups that the k-sparse probes were not fitted on.
    fit, check = _stratified(positive[train], groups[train], 2, seed)[0]
    fit, check = train[fit], train[check]
    standardised = standardise(features[train])[1]
    differences = standardised[positive[train]].mean(0) - standardised[~positive[train]].mean(0)
    order = np.argsort(-differences, kind="stable")[:most]
    kept, best = 1, -1.0
    for count in range(1, len(order) + 1):
        reached = _f1_of(features[:, order[:count]], positive, fit, check, seed)
        if count > 1 and reached <= best + SPLITS:
            break
        kept, best = count, reached
    return order[:kept], _f1_of(features[:, order[:kept]], positive, train, test, seed)


def _f1_of(
    features: Float[np.ndarray, "rows chosen"],
    positive: Bool[np.ndarray, " rows"],
    fit: Int[np.ndarray, " _"],
    check: Int[np.ndarray, " _"],
    seed: int,
) -> float:
    if not np.ptp(features[fit], axis=0).any():
        return 0.0
    probe = fit_probe(features[fit], positive[fit], "logistic", seed=seed)
    return f1_score(positive[check], probe.scores(features[check])[:, 0] > 0)
