"""Hold-outs of whole groups: what a probe is tested on shares no group with what it was fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from workbench.errors import InputError

# The parts need not be equally large, so no name ties their sizes together.
Fold = tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]


def grouped_folds(groups: Shaped[np.ndarray, " rows"], folds: int = 5, seed: int = 0) -> list[Fold]:
    """Rows to fit on and rows to test on, each group whole and tested once.

    Raises:
        InputError: fewer groups than folds, or fewer than two folds.
    """
    from sklearn.model_selection import GroupKFold

    if folds < 2:
        raise InputError(f"{folds} folds hold nothing out; at least 2 are needed.")
    names, numbers = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise InputError(
            f"{len(names)} groups cannot be held out in {folds} folds; take fewer folds, or more groups "
            "(by default a text is one)."
        )
    splitter = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    return [(train, test) for train, test in splitter.split(numbers, groups=numbers)]


def held_out(groups: Shaped[np.ndarray, " rows"], test: Any) -> list[Fold]:
    """The one fold that a mask of test rows makes.

    Raises:
        InputError: a group on both sides, an empty side, or a mask of another length.
    """
    mask: Bool[np.ndarray, " rows"] = np.asarray(test)
    if mask.shape != groups.shape or mask.dtype != np.bool_:
        raise InputError(f"The mask of test rows must hold {len(groups)} booleans; it is {mask.dtype} {[*mask.shape]}.")
    if mask.all() or not mask.any():
        raise InputError("All rows are on one side of the hold-out; some must be fitted on and some tested on.")
    check_no_leak(groups[~mask], groups[mask])
    return [(np.nonzero(~mask)[0], np.nonzero(mask)[0])]


def check_no_leak(train: Shaped[np.ndarray, " train"], test: Shaped[np.ndarray, " test"]) -> None:
    """Refuse groups that are on both sides. Raises InputError, which names some."""
    shared = np.intersect1d(train, test)
    if len(shared):
        named = ", ".join(str(group) for group in shared[:3]) + (", ..." if len(shared) > 3 else "")
        raise InputError(
            f"{len(shared)} groups leak: they are fitted on and tested on ({named}); hold whole groups out."
        )
