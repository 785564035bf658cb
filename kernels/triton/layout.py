"""How tensors are handed to the kernels: strides, the sizes of tiles, the precision of products."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

# A product of tiles needs at least 16 in every dimension.
SMALLEST_TILE = 16
LARGEST_KEY = 256
# For energies where something is erased, a program carries a whole K x K: 64 x 64 spills 17 KB a thread on sm_80, and
# 128 x 128 takes 224 KB of shared memory, more than sm_80 has.
LARGEST_ERASING_KEY = 32
# A walk carries its queries in registers.
LARGEST_WALKED_KEY = 128


def power_of_two(size: int) -> int:
    """The tile that holds `size`: the next power of two, at least the smallest a product takes."""
    return max(SMALLEST_TILE, 1 << max(0, size - 1).bit_length())


@dataclass(frozen=True)
class Tiles:
    """Sizes of the tiles of one form.

    Attributes:
        steps: steps of a chunk, ``2 ** levels``.
        key: the tile that holds a whole key.
        part: keys that a product takes at a time where it need not hold them all; its operands are in registers.
        value: values that a program takes.
        precision: of products: three passes of tf32 have float32's digits; one has more than bfloat16 or float16.
    """

    steps: int
    key: int
    part: int
    value: int
    precision: str

    @property
    def levels(self) -> int:
        """Doublings from one step to a chunk."""
        return self.steps.bit_length() - 1


def tiles(time: int, key: int, value: int, dtype: torch.dtype, simple: bool, erases: bool) -> Tiles:
    """Tiles that fit an SM's registers and shared memory, for values of a dtype; `simple` is a scalar decay's."""
    whole = power_of_two(key)
    # A program's part of the state is whole * value; with erasing it is multiplied twice more.
    widest = (64 if whole <= 64 else 32) // (2 if erases and whole > 32 else 1)
    return Tiles(
        steps=min(power_of_two(time), 64 if simple and whole <= 128 else 32),
        key=whole,
        part=min(whole, 32),
        value=min(power_of_two(value), widest),
        precision="tf32x3" if dtype == torch.float32 else "tf32",
    )


def rows(x: Tensor) -> Tensor:
    """The tensor itself when its last dimension is contiguous, else a copy."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def strides(x: Tensor, heads: int) -> tuple[int, int, int, int]:
    """Strides of batch, time and group of ``[batch, time, groups, n]``, and how many heads share a group.

    Raises:
        ValueError: the groups do not divide the heads.
    """
    groups = x.shape[2]
    if groups == 0 or heads % groups:
        raise ValueError(f"{heads} heads cannot share {groups} groups: the groups must divide the heads")
    return x.stride(0), x.stride(1), x.stride(2), heads // groups


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
