"""Rows of text to train a lens on, and rows to test it on."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError


def split_windows(
    windows: Int[Tensor, "windows length"], held_out: float = 0.1
) -> tuple[Int[Tensor, "train length"], Int[Tensor, "test length"]]:
    """Rows to train on, and the last rows to test on: neighbouring rows come from one text and must not be parted.

    Raises:
        InputError: a share outside 0..1, or one that leaves either part without rows.
    """
    if not 0 < held_out < 1:
        raise InputError(f"held_out is {held_out}; a share between 0 and 1 is needed, such as 0.1.")
    test = max(1, round(len(windows) * held_out))
    if test >= len(windows):
        raise InputError(f"{len(windows)} rows of tokens cannot be split into rows to train on and rows to test on.")
    return windows[:-test], windows[-test:]
