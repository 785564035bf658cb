"""Cuts work into blocks, so that temporary tensors stay small whatever the length asked for."""

from __future__ import annotations

from collections.abc import Iterator

# 8M elements are 32 MB in float32: big enough to amortise a Python call, small beside any model.
BLOCK_ELEMENTS = 2**23


def blocks(length: int, elements_each: int, budget: int = BLOCK_ELEMENTS) -> Iterator[slice]:
    """Cut ``range(length)`` into slices whose temporaries, at `elements_each` an item, fit the budget.

    Nothing to cut is one empty slice, so that a result assembled from the parts still has its shape.
    """
    step = max(1, budget // max(1, elements_each))
    for start in range(0, max(1, length), step):
        yield slice(start, min(start + step, length))
