"""Products of what reads with what was written, decayed in between, inside a chunk: never by a growing exponential."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from workbench.kernels.precision import decay_factor


def decayed_products(
    left: Float[Tensor, "*batch readers step key"],
    right: Float[Tensor, "*batch writers step key"],
    total: Float[Tensor, "*batch step key_or_one"],
) -> Float[Tensor, "*batch readers writers step step"]:
    """``sum_n left_t[n] right_s[n] exp(total_t[n] - total_s[n])`` for s <= t, zero above the diagonal.

    Several readers (queries, probes) and writers (sources, erasers) share the decays, which are most of the work.
    """
    if total.shape[-1] == 1:
        return _one_decay(left, right, total)
    return _decay_a_channel(left, right, total)


def _one_decay(left: Tensor, right: Tensor, total: Tensor) -> Tensor:
    """One decay for all channels comes out of the sum: a matrix product, times a matrix of factors."""
    steps = total.shape[-2]
    future = torch.ones(steps, steps, dtype=torch.bool, device=total.device).triu(1)
    # Masked before the exponential, too: above the diagonal the difference is positive and could overflow.
    between = (total - total.mT).to(left.dtype).masked_fill(future, 0)
    decay = decay_factor(between).masked_fill(future, 0)
    products = left.flatten(-3, -2) @ right.flatten(-3, -2).mT
    shaped = products.unflatten(-1, (-1, steps)).unflatten(-3, (-1, steps)) * decay[..., None, :, None, :]
    return shaped.transpose(-3, -2)


def _decay_a_channel(left: Tensor, right: Tensor, total: Tensor) -> Tensor:
    """Blocks of one step, which hold no decay, doubled until they span the chunk.

    A later half and the half before it are anchored at their border, where both factors are at most 1, and take one
    matrix product. Readers and writers are laid inside a step, so that a block of steps is one block of rows.
    """
    dtype, (readers, steps), writers = left.dtype, left.shape[-3:-1], right.shape[-3]
    padded = 1 << (steps - 1).bit_length()
    more = padded - steps
    left, right = (pad(x.transpose(-3, -2), (0, 0, 0, 0, 0, more)) for x in (left, right))
    # Repeating the last sum keeps every difference at or below zero.
    total = torch.cat([total, total[..., -1:, :].expand(*total.shape[:-2], more, -1)], dim=-2)
    result = left @ right.mT
    size = 1
    while size < padded:
        left_, right_ = (x.unflatten(-3, (-1, 2, size)) for x in (left, right))
        total_ = total.unflatten(-2, (-1, 2, size))
        border = total_[..., 0, -1:, :]
        since = decay_factor((total_[..., 1, :, :] - border).to(dtype))[..., None, :]
        until = decay_factor((border - total_[..., 0, :, :]).to(dtype))[..., None, :]
        later = (left_[..., 1, :, :, :] * since).flatten(-3, -2)
        earlier = (right_[..., 0, :, :, :] * until).flatten(-3, -2)
        first, second = result[..., 0::2, :, :], result[..., 1::2, :, :]
        upper = torch.cat([first, torch.zeros_like(first)], dim=-1)
        result = torch.cat([upper, torch.cat([later @ earlier.mT, second], dim=-1)], dim=-2)
        size *= 2
    whole = result[..., 0, :, :].unflatten(-1, (padded, writers)).unflatten(-3, (padded, readers))
    return whole[..., :steps, :, :steps, :].movedim((-3, -1), (-4, -3))
