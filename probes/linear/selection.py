"""Which k features a sparse probe may use: the selections of "Finding Neurons in a Haystack" (arXiv:2305.01610)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from workbench.errors import InputError

SELECTIONS = ("mean_difference", "mutual_information", "l1", "adaptive")
# From one L1 penalty to the next weaker one, and how many are tried.
_L1_STEP = 0.8
_L1_STEPS = 60


def select_units(
    standardised: Float[np.ndarray, "rows features"],
    labels: Shaped[np.ndarray, rows * outputs],
    kind: str,
    ks: Sequence[int],
    selection: str = "mean_difference",
    seed: int = 0,
) -> dict[int, Int[np.ndarray, " k"]]:
    """The k best features for each k, best first, judged on these rows alone (section 3 and appendix A of the paper).

    * ``mean_difference``: the largest difference of class means (of one class to the rest, where there are more than
      two); for numbers the largest absolute correlation, which it is for two classes up to a factor.
    * ``mutual_information``: with the label, scikit-learn's nearest-neighbour estimate.
    * ``l1``: the largest weights under the strongest L1 penalty that leaves k of them.
    * ``adaptive``: fit on all features, keep the half with the largest weights, fit again, and so on down to k.

    Raises:
        InputError: no such selection, or a k that is not within the number of features.
    """
    features = standardised.shape[1]
    if selection not in SELECTIONS:
        raise InputError(f"selection is {selection!r}; it must be one of {', '.join(SELECTIONS)}.")
    for k in ks:
        if not 1 <= k <= features:
            raise InputError(f"k is {k}, and there are {features} units; choose from 1 to {features}.")
    if selection == "adaptive":
        return _adaptive(standardised, labels, kind, sorted(set(ks)))
    if selection == "l1":
        return _l1(standardised, labels, kind, sorted(set(ks)))
    score = (
        mean_differences(standardised, labels, kind)
        if selection == "mean_difference"
        else _mutual_information(standardised, labels, kind, seed)
    )
    order = np.argsort(-score, kind="stable")
    return {k: order[:k] for k in ks}


def mean_differences(
    standardised: Float[np.ndarray, "rows features"], labels: Shaped[np.ndarray, rows * outputs], kind: str
) -> Float[np.ndarray, " features"]:
    """The selection score of ``mean_difference``, for each feature."""
    differences = [
        standardised.T @ (target / np.abs(target).sum()) * 2 for target in _targets(labels, kind, centred=True)
    ]
    largest: Float[np.ndarray, " features"] = np.abs(differences).max(axis=0)
    return largest


def _targets(labels: Shaped[np.ndarray, rows * outputs], kind: str, centred: bool) -> list[np.ndarray]:
    """Numbers to correlate with: each output, or each class against the rest (one of two classes)."""
    if kind == "ridge":
        columns = list(labels.reshape(len(labels), -1).T.astype(np.float64))
    else:
        classes = np.unique(labels)
        columns = [(labels == one).astype(np.float64) for one in (classes[1:] if len(classes) == 2 else classes)]
    return [column - column.mean() for column in columns] if centred else columns


def _mutual_information(
    x: Float[np.ndarray, "rows features"], labels: Shaped[np.ndarray, rows * outputs], kind: str, seed: int
) -> Float[np.ndarray, " features"]:
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    if kind == "logistic":
        found: Float[np.ndarray, " features"] = mutual_info_classif(x, labels, random_state=seed)
        return found
    of_outputs = [mutual_info_regression(x, column, random_state=seed) for column in _targets(labels, kind, False)]
    largest: Float[np.ndarray, " features"] = np.max(of_outputs, axis=0)
    return largest


def _adaptive(
    x: Float[np.ndarray, "rows features"], labels: Shaped[np.ndarray, rows * outputs], kind: str, ks: list[int]
) -> dict[int, Int[np.ndarray, " k"]]:
    from sklearn.linear_model import LogisticRegression, Ridge

    units = np.arange(x.shape[1])
    found: dict[int, Int[np.ndarray, " k"]] = {}
    while True:
        model = Ridge(alpha=1.0) if kind == "ridge" else LogisticRegression(max_iter=2000)
        weights = np.abs(np.atleast_2d(model.fit(x[:, units], labels).coef_)).max(axis=0)
        units = units[np.argsort(-weights, kind="stable")]
        if len(units) in ks:
            found[len(units)] = units
        smaller = [k for k in ks if k < len(units)]
        if not smaller:
            return found
        units = units[: max(smaller[-1], len(units) // 2)]


def _l1(
    x: Float[np.ndarray, "rows features"], labels: Shaped[np.ndarray, rows * outputs], kind: str, ks: list[int]
) -> dict[int, Int[np.ndarray, " k"]]:
    from sklearn.linear_model import Lasso, LogisticRegression

    targets = _targets(labels, kind, centred=kind == "ridge")
    # At this penalty the first weight is about to leave 0: the largest gradient of the loss at weights of 0.
    largest = max(float(np.abs(x.T @ (target - target.mean())).max()) for target in targets)
    weights = np.zeros(x.shape[1])
    found: dict[int, Int[np.ndarray, " k"]] = {}
    for step in range(1, _L1_STEPS + 1):
        penalty = largest * _L1_STEP**step
        fitted = []
        for target in targets:
            if kind == "ridge":
                model = Lasso(alpha=penalty / len(x), max_iter=5000).fit(x, target)
            else:
                model = LogisticRegression(l1_ratio=1.0, C=1 / penalty, solver="liblinear", random_state=0)
                model.fit(x, target)
            fitted.append(np.abs(model.coef_).reshape(-1))
        weights = np.max(fitted, axis=0)
        order = np.argsort(-weights, kind="stable")
        for k in ks:
            if k not in found and np.count_nonzero(weights) >= k:
                found[k] = order[:k]
        if len(found) == len(ks):
            return found
    # Fewer weights than k are of any use: the rest is filled up by the difference of means.
    order = np.lexsort((-mean_differences(x, labels, kind), -weights))
    return {k: found.get(k, order[:k]) for k in ks}
