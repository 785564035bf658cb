"""Which positions or sequences of a recorded tensor are meant, in TransformerLens' words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from workbench.errors import InputError

SliceInput: TypeAlias = "int | tuple[int, ...] | Sequence[int] | slice | Tensor | None"
"""None for everything, a number (the axis goes), ``(stop,)``, ``(start, stop)`` or ``(start, stop, step)``, a slice, a
list of indices, or a tensor of indices or of booleans."""


def sliced(tensor: Tensor, chosen: SliceInput, dim: int) -> Tensor:
    """The chosen part of one axis.

    Raises:
        InputError: the axis is shorter, or `chosen` is none of the ways to choose.
    """
    if chosen is None:
        return tensor
    if isinstance(chosen, tuple):
        chosen = slice(*chosen)
    elif isinstance(chosen, list | range):
        chosen = torch.tensor(list(chosen))
    if isinstance(chosen, bool) or not isinstance(chosen, int | slice | Tensor):
        raise InputError(f"{chosen!r} chooses nothing; give a number, a tuple (start, stop), a list or a tensor.")
    index: list[int | slice | Tensor] = [slice(None)] * tensor.dim()
    index[dim] = chosen.to(tensor.device) if isinstance(chosen, Tensor) else chosen
    try:
        return tensor[tuple(index)]
    except IndexError:
        raise InputError(
            f"{chosen!r} is outside the {tensor.shape[dim]} entries of the axis it is to choose from."
        ) from None
