"""The fit itself: scikit-learn's ridge and logistic regression on features standardised by the training rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from workbench.errors import InputError
from workbench.probes.linear.data import label_array
from workbench.probes.linear.holdout import grouped_folds
from workbench.probes.linear.probe import Probe

KINDS = ("ridge", "logistic")
# Of ridge regression, tried on inner folds; weights are of standardised features.
RIDGE_PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4)


def fit_probe(
    values: Float[np.ndarray, "rows features"],
    labels: Any,
    kind: str = "logistic",
    *,
    penalty: float | Sequence[float] | None = None,
    groups: Any = None,
    units: Sequence[int] | None = None,
    hook: str = "",
    model_name: str = "",
    seed: int = 0,
) -> Probe:
    """Fit one probe on all rows given.

    Features are standardised, ``|w|^2 penalty / 2`` of the standardised weights is added to the summed log loss (ridge:
    ``|w|^2 penalty`` to the summed square error), and the weights are folded back to the activation's own space.

    Args:
        labels: numbers (ridge; several a row for several outputs) or classes (logistic; more than two are multinomial).
        penalty: one, or several of which inner grouped folds of these rows choose; None for 1 (logistic) and for
            `RIDGE_PENALTIES` (ridge).
        groups: whose rows the inner folds keep together; each row its own by default.
        units: the only features to use (`Probe.units`); all by default.

    Raises:
        InputError: labels of another number or kind, a single class, activations that are not finite.
    """
    answers = checked_labels(label_array(labels), kind)
    check_values(values, len(answers))
    of_rows = np.arange(len(answers)) if groups is None else np.asarray(groups)
    chosen = np.arange(values.shape[1]) if units is None else checked_units(units, values.shape[1])
    scaler, standardised = standardise(values[:, chosen])
    penalties = _penalties(kind, penalty)
    best = penalties[0] if len(penalties) == 1 else _best(standardised, answers, kind, penalties, of_rows, seed)
    weight, bias, classes = _fit(standardised, answers, kind, best)
    own, shift = unstandardised(scaler, weight)
    full = np.zeros((len(own), values.shape[1]))
    full[:, chosen] = own
    kept = None if units is None else tuple(int(unit) for unit in chosen)
    return Probe(kind, full, bias - shift, classes, hook, model_name, kept)


def checked_labels(labels: Shaped[np.ndarray, rows * outputs], kind: str) -> Shaped[np.ndarray, rows * outputs]:
    """Labels that the kind of probe can take. Raises InputError."""
    if kind not in KINDS:
        raise InputError(f"A probe is 'ridge' or 'logistic', not {kind!r}.")
    if len(labels) == 0:
        raise InputError("There are no labels.")
    if kind == "ridge":
        if labels.dtype.kind not in "biuf":
            raise InputError(f"Ridge regression predicts numbers, and {labels.reshape(-1)[0]!r} is none; use logistic.")
        numbers = labels.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise InputError("A label is not a finite number; leave such rows out.")
        if not np.ptp(numbers, axis=0).all():
            raise InputError(f"All labels are {numbers.reshape(-1)[0]:g}; a probe needs labels that differ.")
        return numbers
    if labels.ndim != 1:
        raise InputError(f"Logistic regression takes one class a row; these labels are {[*labels.shape]}.")
    classes = np.unique(labels)
    if len(classes) == 1:
        raise InputError(f"All labels are {classes[0]!s}: with a single class there is nothing to tell apart.")
    if labels.dtype.kind == "f" and len(classes) > 20:
        raise InputError(f"{len(classes)} different numbers are no classes; use ridge, or bin them.")
    return labels


def check_values(values: Float[np.ndarray, "rows features"], labels: int) -> None:
    """Refuse activations that do not go with that many labels, or that are not finite. Raises InputError."""
    if values.ndim != 2 or len(values) != labels:
        raise InputError(
            f"There are {labels} labels for activations of shape {[*values.shape]}; one label a row is needed."
        )
    if not np.isfinite(values).all():
        raise InputError("The activations hold values that are not finite; model.debug_nans() says where they arise.")


def checked_units(units: Sequence[int], features: int) -> np.ndarray:
    """Feature numbers, each once and in range. Raises InputError."""
    chosen = np.asarray(list(units), dtype=np.int64)
    if len(chosen) == 0 or len(np.unique(chosen)) < len(chosen):
        raise InputError(f"Units are named once each, at least one; got {[*map(int, chosen)]}.")
    if chosen.min() < 0 or chosen.max() >= features:
        raise InputError(f"Unit {chosen.max() if chosen.min() >= 0 else chosen.min()} is none of 0..{features - 1}.")
    return chosen


def standardise(values: Float[np.ndarray, "rows features"]) -> tuple[Any, Float[np.ndarray, "rows features"]]:
    """A fitted scaler, and the rows in float64 with mean 0 and variance 1 a feature (0 where it is constant)."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    return scaler, scaler.fit_transform(values.astype(np.float64))


def unstandardised(
    scaler: Any, weight: Float[np.ndarray, "outputs features"]
) -> tuple[Float[np.ndarray, "outputs features"], Float[np.ndarray, " outputs"]]:
    """Weights for features as they were, and what the bias loses by it."""
    own = weight / scaler.scale_
    return own, own @ scaler.mean_


def _penalties(kind: str, penalty: float | Sequence[float] | None) -> list[float]:
    if penalty is None:
        return [1.0] if kind == "logistic" else [*RIDGE_PENALTIES]
    listed = [float(one) for one in penalty] if isinstance(penalty, Sequence) else [float(penalty)]
    if not listed or not all(one > 0 for one in listed):
        raise InputError(f"A penalty is a number above 0, at least one; got {listed}.")
    return listed


def _fit(
    x: Float[np.ndarray, "rows features"], labels: Shaped[np.ndarray, rows * outputs], kind: str, penalty: float
) -> tuple[Float[np.ndarray, "outputs features"], Float[np.ndarray, " outputs"], tuple[Any, ...]]:
    from sklearn.linear_model import LogisticRegression, Ridge

    if kind == "ridge":
        fitted = Ridge(alpha=penalty).fit(x, labels)
        return np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_).astype(np.float64), ()
    fitted = LogisticRegression(C=1 / penalty, max_iter=2000).fit(x, labels)
    return fitted.coef_, fitted.intercept_, tuple(fitted.classes_)


def _best(
    x: Float[np.ndarray, "rows features"],
    labels: Shaped[np.ndarray, rows * outputs],
    kind: str,
    penalties: list[float],
    groups: Shaped[np.ndarray, " rows"],
    seed: int,
) -> float:
    """The penalty with the least loss on three inner folds of whole groups; the largest where there are too few."""
    if len(np.unique(groups)) < 3:
        return max(penalties)
    losses = np.zeros(len(penalties))
    for train, test in grouped_folds(groups, 3, seed):
        if kind == "logistic" and len(np.unique(labels[train])) < len(np.unique(labels)):
            return max(penalties)
        for number, penalty in enumerate(penalties):
            weight, bias, classes = _fit(x[train], labels[train], kind, penalty)
            probe = Probe(kind, weight, bias, classes)
            losses[number] += _loss(probe, x[test], labels[test])
    return penalties[int(losses.argmin())]


def _loss(probe: Probe, x: Float[np.ndarray, "rows features"], labels: Shaped[np.ndarray, rows * outputs]) -> float:
    if not probe.classes:
        return float(((probe.scores(x) - labels.reshape(len(labels), -1)) ** 2).sum())
    right = np.searchsorted(np.array(probe.classes), labels)
    return float(-np.log(probe.probabilities(x)[np.arange(len(x)), right].clip(1e-15)).sum())
