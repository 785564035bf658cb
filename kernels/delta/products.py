"""Products of what reads with what was written, decayed in between, inside a chunk: never by a growing exponential."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from workbench.kernels.precision import decay_factor, decays_between, running_sum


@dataclass(frozen=True)
class Decayed:
    """Readers (queries, probes) and writers (sources, erasers) of chunks; they share the decays, most of the work.

    Attributes:
        products: ``sum_n reader_t[n] writer_s[n] decay(s+1 .. t)[n]`` for s <= t, zero above the diagonal.
        readers: decayed from the chunk's start up to each step.
        writers: decayed from each step to the chunk's end.
        total: decay over the whole chunk.
    """

    products: Float[Tensor, "*batch readers writers step step"]
    readers: Float[Tensor, "*batch readers step key"]
    writers: Float[Tensor, "*batch writers step key"]
    total: Float[Tensor, "*batch key_or_one"]


def decayed(
    readers: Float[Tensor, "*batch readers step key"],
    writers: Float[Tensor, "*batch writers step key"],
    log_decay: Float[Tensor, "*batch step key_or_one"],
) -> Decayed:
    """Decay readers and writers inside their chunks, in their dtype."""
    if log_decay.shape[-1] == 1:
        return _one_decay(readers, writers, log_decay)
    return _decay_a_channel(readers, writers, log_decay)


def _one_decay(readers: Tensor, writers: Tensor, log_decay: Tensor) -> Decayed:
    """One decay for all channels comes out of the sum: a matrix product, times a matrix of factors."""
    dtype, steps = readers.dtype, log_decay.shape[-2]
    total = running_sum(log_decay, dim=-2)
    decay = decays_between(total[..., 0], dtype)[..., None, :, None, :]
    products = readers.flatten(-3, -2) @ writers.flatten(-3, -2).mT
    return Decayed(
        products=(products.unflatten(-1, (-1, steps)).unflatten(-3, (-1, steps)) * decay).transpose(-3, -2),
        readers=readers * decay_factor(total.to(dtype))[..., None, :, :],
        writers=writers * decay_factor((total[..., -1:, :] - total).to(dtype))[..., None, :, :],
        total=decay_factor(total[..., -1, :].to(dtype)),
    )


def _decay_a_channel(readers: Tensor, writers: Tensor, log_decay: Tensor) -> Decayed:
    """Blocks of one step, which hold no decay between them, doubled until they span the chunk.

    In every block readers are decayed from its start and writers to its end. So a later block's readers and an earlier
    block's writers meet at their border, where all factors are at most 1, in one matrix product; then either is decayed
    over the other's block. Nothing is subtracted, and one exponential a step and channel is all there is.
    """
    steps = readers.shape[-2]
    length = 1 << (steps - 1).bit_length()
    more = length - steps
    # A step's readers (or writers) lie side by side, so that a block of steps is one block of rows: [block, row, key].
    total = decay_factor(pad(log_decay, (0, 0, 0, more)).to(readers.dtype))[..., None, :]
    left, right = (pad(x.transpose(-3, -2), (0, 0, 0, 0, 0, more)) for x in (readers, writers))
    products = left @ right.mT
    left = left * total
    while total.shape[-3] > 1:
        before, after = total.unflatten(-3, (-1, 2)).unbind(-3)
        left_before, left_after = left.unflatten(-3, (-1, 2)).unbind(-3)
        right_before, right_after = right.unflatten(-3, (-1, 2)).unbind(-3)
        first, second = products.unflatten(-3, (-1, 2)).unbind(-3)
        upper = torch.cat([first, torch.zeros_like(first)], dim=-1)
        products = torch.cat([upper, torch.cat([left_after @ right_before.mT, second], dim=-1)], dim=-2)
        left = torch.cat([left_before, left_after * before], dim=-2)
        right = torch.cat([right_before * after, right_after], dim=-2)
        total = before * after
    count = (readers.shape[-3], writers.shape[-3])
    whole = products[..., 0, :, :].unflatten(-1, (length, count[1])).unflatten(-3, (length, count[0]))
    left, right = (x[..., 0, :, :].unflatten(-2, (length, -1))[..., :steps, :, :] for x in (left, right))
    return Decayed(
        products=whole[..., :steps, :, :steps, :].movedim((-3, -1), (-4, -3)),
        readers=left.transpose(-3, -2),
        writers=right.transpose(-3, -2),
        total=total[..., 0, 0, :],
    )
