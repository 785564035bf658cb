"""How well a probe does on groups that it never saw, and how much of that is the probe's own memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from workbench.errors import InputError
from workbench.probes.linear.control import control_labels
from workbench.probes.linear.data import label_array
from workbench.probes.linear.fitting import check_values, checked_labels, fit_probe
from workbench.probes.linear.holdout import Fold, grouped_folds, held_out
from workbench.probes.linear.probe import Probe
from workbench.probes.linear.scores import GroupDraws, classification_scores, r2_draws, regression_scores
from workbench.tasks.intervals import Interval

# Rows to fit on -> a probe. What it standardises, selects or chooses, it takes from these rows alone.
Fit = Callable[[Int[np.ndarray, " train"]], Probe]


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """A probe and what it scored on held-out groups.

    Attributes:
        probe: fitted on all rows, or on the rows that a mask of test rows left.
        scores: by name, with intervals over groups: ``accuracy``, ``auc``, ``log_loss`` or ``r2``, ``correlation``,
            ``rmse``.
        baseline: what no activation is needed for: the share of the commonest class, or an R² of 0.
        control: the score (accuracy or R²) on the control task; None where none was asked for.
        selectivity: the score minus the control task's (Hewitt and Liang 2019).
        rows: which rows were tested.
        predictions: held-out predictions for them: probabilities of the classes, or numbers.
        groups: how many there are.
    """

    probe: Probe
    scores: dict[str, Interval]
    baseline: float
    control: Interval | None
    selectivity: Interval | None
    rows: Int[np.ndarray, " tested"] = field(repr=False)
    predictions: Float[np.ndarray, "tested outputs"] = field(repr=False)
    groups: int

    @property
    def score(self) -> Interval:
        """Accuracy of a classifier, R² of a regression."""
        return self.scores["accuracy" if "accuracy" in self.scores else "r2"]

    def record(self) -> dict[str, object]:
        """Every number under a column name: ``accuracy``, ``accuracy_low``, ..., ``baseline``, ``selectivity``."""
        columns: dict[str, object] = {}
        known = {**self.scores, "control": self.control, "selectivity": self.selectivity}
        for name, interval in known.items():
            if interval is not None:
                columns |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return {**columns, "baseline": self.baseline, "rows": len(self.rows), "groups": self.groups}

    def table(self) -> pd.DataFrame:
        """One row a score: its value and interval."""
        known = {**self.scores, "control": self.control, "selectivity": self.selectivity}
        rows = [{"score": name, **found._asdict()} for name, found in known.items() if found is not None]
        return pd.DataFrame(rows).rename(columns={"mean": "value"})


def evaluate_probe(
    values: Float[np.ndarray, "rows features"],
    labels: Any,
    kind: str = "logistic",
    *,
    groups: Any = None,
    folds: int = 5,
    test: Any = None,
    types: Any = None,
    penalty: float | Sequence[float] | None = None,
    hook: str = "",
    model_name: str = "",
    level: float = 0.95,
    seed: int = 0,
) -> ProbeResult:
    """Fit and test a probe on whole groups that are held out in turn; everything is fitted on training rows only.

    Args:
        labels, kind, penalty: as in `fit_probe`.
        groups: one a row; each row is its own by default.
        folds: groups are held out in that many parts.
        test: a mask of rows to test on instead, the others being fitted on.
        types: one a row: also score the control task that gives every type a random label (see `control_labels`).

    Raises:
        InputError: a group on both sides of `test`, fewer groups than folds, a single class, a class that a fold's
            training rows lack, labels or groups of another number than rows.
    """
    answers = checked_labels(label_array(labels), kind)
    check_values(values, len(answers))
    of_rows = np.arange(len(answers)) if groups is None else np.asarray(groups)
    if of_rows.shape != (len(answers),):
        raise InputError(f"There are {len(of_rows)} groups for {len(answers)} rows; one a row is needed.")
    parts = grouped_folds(of_rows, folds, seed) if test is None else held_out(of_rows, test)

    def fit_to(wanted: Shaped[np.ndarray, rows * outputs]) -> Fit:
        def fit(train: Int[np.ndarray, " train"]) -> Probe:
            return fit_probe(
                values[train],
                wanted[train],
                kind,
                penalty=penalty,
                groups=of_rows[train],
                hook=hook,
                model_name=model_name,
                seed=seed,
            )

        return fit

    controls = None if types is None else control_labels(types, answers, seed)
    fit_control = None if controls is None else fit_to(controls)
    return evaluate(fit_to(answers), values, answers, of_rows, parts, controls, fit_control, level, seed)


def evaluate(
    fit: Fit,
    values: Float[np.ndarray, "rows features"],
    labels: Shaped[np.ndarray, rows * outputs],
    groups: Shaped[np.ndarray, " rows"],
    parts: list[Fold],
    controls: Shaped[np.ndarray, rows * outputs] | None = None,
    fit_control: Fit | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> ProbeResult:
    """`evaluate_probe` for any way to fit: `fit` is given the training rows of each part, at last all of them."""
    rows = np.concatenate([test for _, test in parts])
    draws = GroupDraws(groups[rows], seed=seed)
    probe = fit(np.arange(len(labels)) if len(parts) > 1 else parts[0][0])
    classifies = bool(probe.classes)
    predictions = held_out_predictions(fit, values, labels, parts, classifies)
    found = _scores(predictions, labels, rows, classifies, draws, level)
    control, selectivity = None, None
    if controls is not None and fit_control is not None:
        elsewhere = held_out_predictions(fit_control, values, controls, parts, classifies, strict=False)
        real, random = (
            _main_draws(guess, answer, rows, classifies, draws)
            for guess, answer in ((predictions, labels), (elsewhere, controls))
        )
        control, selectivity = draws.interval(random, level), draws.interval(real - random, level)
    baseline = 0.0
    if classifies:
        baseline = float(np.unique(labels[rows], return_counts=True)[1].max() / len(rows))
    return ProbeResult(probe, found, baseline, control, selectivity, rows, predictions, draws.count)


def held_out_predictions(
    fit: Fit,
    values: Float[np.ndarray, "rows features"],
    labels: Shaped[np.ndarray, rows * outputs],
    parts: list[Fold],
    classifies: bool,
    strict: bool = True,
) -> Float[np.ndarray, "tested outputs"]:
    """Predictions for the test rows of each part, one part after the other, by the probe fitted on its training rows.

    Raises:
        InputError: training rows hold a single class, or lack one that is tested (unless not `strict`: it then has
            probability 0).
    """
    if not classifies:
        return np.concatenate([fit(train).scores(values[test]) for train, test in parts])
    every = np.unique(labels)
    made = []
    for train, test in parts:
        there = np.unique(labels[train])
        missing = np.setdiff1d(labels[test], there)
        if len(there) == 1 or (strict and len(missing)):
            what = f"Class {missing[0]!s}" if len(missing) else f"Every class but {there[0]!s}"
            raise InputError(
                f"{what} is in no training group of one of the folds; it is confined to too few groups to be held out."
            )
        probe = fit(train)
        made.append(np.zeros((len(test), len(every))))
        made[-1][:, np.searchsorted(every, np.array(probe.classes))] = probe.probabilities(values[test])
    return np.concatenate(made)


def _scores(
    predictions: Float[np.ndarray, "tested outputs"],
    labels: Shaped[np.ndarray, rows * outputs],
    rows: Int[np.ndarray, " tested"],
    classifies: bool,
    draws: GroupDraws,
    level: float,
) -> dict[str, Interval]:
    if classifies:
        numbers = np.unique(labels, return_inverse=True)[1][rows]
        return classification_scores(numbers, predictions, draws, level)
    return regression_scores(labels[rows].reshape(len(rows), -1), predictions, draws, level)


def _main_draws(
    predictions: Float[np.ndarray, "tested outputs"],
    labels: Shaped[np.ndarray, rows * outputs],
    rows: Int[np.ndarray, " tested"],
    classifies: bool,
    draws: GroupDraws,
) -> Float[np.ndarray, " draws"]:
    """Accuracy or R² in every draw, so that a difference of two is taken draw by draw."""
    if classifies:
        numbers = np.unique(labels, return_inverse=True)[1][rows]
        right = (predictions.argmax(axis=1) == numbers).astype(np.float64)
        share: Float[np.ndarray, " draws"] = draws.sums(right) / draws.sums(np.ones(len(rows)))
        return share
    return r2_draws(labels[rows].reshape(len(rows), -1), predictions, draws)
