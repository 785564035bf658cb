"""The difference of class means as a probe (Marks and Tegmark 2023, "The Geometry of Truth", arXiv:2310.06824)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.errors import InputError
from workbench.probes.linear.data import label_array
from workbench.probes.linear.evaluation import ProbeResult, evaluate
from workbench.probes.linear.fitting import check_values, checked_labels
from workbench.probes.linear.holdout import grouped_folds, held_out
from workbench.probes.linear.probe import Probe


def mass_mean_probe(
    values: Float[np.ndarray, "rows features"],
    labels: Any,
    *,
    whitened: bool = False,
    hook: str = "",
    model_name: str = "",
) -> Probe:
    """The probe ``sigmoid(theta (x - m))``: `theta` from one class mean to the other, `m` half-way between them.

    Args:
        labels: two classes; the direction points to the one that sorts last.
        whitened: multiply `theta` by the inverse of the covariance within classes, the paper's correction for features
            that are correlated (for Gaussian classes: Fisher's linear discriminant). What steers is the plain one.

    Raises:
        InputError: labels that are not two classes, or of another number than rows; class means that are the same.
    """
    answers = checked_labels(label_array(labels), "logistic")
    check_values(values, len(answers))
    classes = np.unique(answers)
    if len(classes) != 2:
        raise InputError(f"A difference of means is of two classes; there are {len(classes)}.")
    x = values.astype(np.float64)
    means = [x[answers == one].mean(axis=0) for one in classes]
    theta = means[1] - means[0]
    if not theta.any():
        raise InputError("The two classes have the same mean activation, so their difference is no direction.")
    if whitened:
        within = np.concatenate([x[answers == one] - mean for one, mean in zip(classes, means, strict=True)])
        theta = np.linalg.pinv(within.T @ within / len(x), hermitian=True) @ theta
    bias = -theta @ (means[0] + means[1]) / 2
    return Probe("mass_mean", theta[None], np.array([bias]), tuple(classes), hook, model_name)


def evaluate_mass_mean(
    values: Float[np.ndarray, "rows features"],
    labels: Any,
    *,
    groups: Any = None,
    folds: int = 5,
    test: Any = None,
    whitened: bool = False,
    hook: str = "",
    model_name: str = "",
    level: float = 0.95,
    seed: int = 0,
) -> ProbeResult:
    """`mass_mean_probe` fitted and tested as `evaluate_probe` does it.

    Raises:
        InputError: as `mass_mean_probe` and `evaluate_probe`.
    """
    answers = checked_labels(label_array(labels), "logistic")
    check_values(values, len(answers))
    of_rows = np.arange(len(answers)) if groups is None else np.asarray(groups)
    parts = grouped_folds(of_rows, folds, seed) if test is None else held_out(of_rows, test)

    def fit(train: np.ndarray) -> Probe:
        return mass_mean_probe(values[train], answers[train], whitened=whitened, hook=hook, model_name=model_name)

    return evaluate(fit, values, answers, of_rows, parts, level=level, seed=seed)
