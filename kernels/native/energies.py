"""Row energies of A, and how far away they lie, on a CPU in compiled loops; linear in the length of the sequence.

``energies.cpp`` beside this file holds the loops and the recurrences that they run.
"""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.native import build
from workbench.kernels.native.recurrence import Operands, groups

_OF_HEAD, _RATED, _OF_CHANNEL = range(3)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None where they cannot be had."""
    found = build.library("energies")
    if found is not None:
        found.energies.argtypes = [ctypes.c_void_p] + [ctypes.c_int] * 3 + [ctypes.c_void_p] * 9
        found.energies.restype = None
    return found


def energies(
    operands: Operands, rate: Float[Tensor, "heads key"] | None = None, distance: bool = False
) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]^2``, or with `distance` ``sum_s A[t, s]^2 (t - s)``; not differentiable.

    Args:
        operands: as for the recurrence; `v` lends its shape only. With a rate its log decay is ``[.., 1]``.
        rate: factor on the log decay, a head and channel.
    """
    found = library()
    assert found is not None
    batch, time, heads, _ = operands.v.shape
    decays = _RATED if rate is not None else _OF_HEAD if operands.log_decay.shape[-1] == 1 else _OF_CHANNEL
    sizes = (ctypes.c_int64 * 8)(batch, time, heads, operands.k.shape[-1], *groups(operands))
    results = [torch.empty(batch, time, heads) for _ in range(1 + distance)]
    # The list keeps what was copied alive until the loops are through with it.
    q, k, _, log_decay, *others = operands.tensors
    read = [None if x is None else x.detach().contiguous() for x in (q, k, log_decay, rate, *others)]
    found.energies(
        sizes, decays, operands.erases, build.threads(), *(build.pointer(x) for x in read), results[0].data_ptr(),
        build.pointer(results[1]) if distance else None,
    )  # fmt: skip
    return results[-1]
