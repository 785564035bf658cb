"""Control tasks: random labels that only a memory of the types can learn (Hewitt and Liang 2019, arXiv:1909.03368)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Shaped

from workbench.errors import InputError


def control_labels(
    types: Any, labels: Shaped[np.ndarray, rows * outputs], seed: int = 0
) -> Shaped[np.ndarray, rows * outputs]:
    """Give every type one label, drawn from the labels as often as they occur (section 2 of the paper).

    A probe that does as well on these has the capacity to memorise types, and its score on the real labels says little
    about the representation.

    Args:
        types: one a row, such as the token or the word.

    Raises:
        InputError: another number of types than of labels, or fewer than two types.
    """
    names, numbers = np.unique(np.asarray(types), return_inverse=True)
    if numbers.shape != (len(labels),):
        raise InputError(f"There are {len(numbers)} types for {len(labels)} labels; one a row is needed.")
    if len(names) < 2:
        raise InputError("A control task needs at least two types; all rows are of one.")
    generator = np.random.default_rng(seed)
    while True:
        drawn: Shaped[np.ndarray, types * outputs] = labels[generator.integers(len(labels), size=len(names))]
        if len(np.unique(drawn, axis=0)) > 1:
            return drawn[numbers]
