"""In which precision things are computed, and how sums of log decays stay accurate.

Everything is computed and every state is kept in float32, or in float64 when an operand is float64, whatever else the
inputs are. Sums of log decays are the exception: a difference of two running sums near 11,000 in float32 is off by
9e-4, so they are summed and subtracted in float64 and only the difference is rounded.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import threshold

# What fused kernels read: they compute in float32 whichever of these an operand is.
READ_AS_FLOAT32 = (torch.float32, torch.float16, torch.bfloat16)

# exp(-1000) is 0 even in float64, so nothing changes for finite decays; an exact -inf (a reset) would turn
# differences of running sums into NaN.
LOWEST_LOG_DECAY = -1000.0

# Where an exponential is not a normal number any more (below -87 in float32), a CPU takes ten to thirty times as long
# for it, and longer again for each product with it; most decays over long distances are there. The margin of 8 leaves
# room for a factor. What is lost is an error of at most exp(-79) where the truth is smaller still.
_LOWEST_EXPONENT = {dtype: math.log(torch.finfo(dtype).tiny) + 8 for dtype in (torch.float32, torch.float64)}


def decay_factor(log_decay: Tensor) -> Tensor:
    """The exponential of log decays in float32 or float64, which never gets so small that it gets slow."""
    return log_decay.clamp(min=_LOWEST_EXPONENT[log_decay.dtype]).exp()


def step_factor(log_decay: Tensor) -> Tensor:
    """The same for single steps. Few of those are so strong that a slow exponential matters: a reset is exactly 0."""
    return threshold(log_decay, _LOWEST_EXPONENT[log_decay.dtype], -math.inf).exp()


def compute_dtype(*operands: Tensor | None) -> torch.dtype:
    """float64 when an operand is float64, else float32."""
    return torch.float64 if any(x is not None and x.dtype == torch.float64 for x in operands) else torch.float32


def sum_dtype(device: torch.device) -> torch.dtype:
    """The dtype of running sums: float64, except on Apple's GPUs, which have none."""
    return torch.float32 if device.type == "mps" else torch.float64


def running_sum(log_decay: Tensor, dim: int, lowest: float | None = LOWEST_LOG_DECAY) -> Tensor:
    """Inclusive running sum of log decays along `dim`, accurate to float64; what is below `lowest` counts as it."""
    log_decay = log_decay.to(sum_dtype(log_decay.device))
    return (log_decay if lowest is None else log_decay.clamp(min=lowest)).cumsum(dim)


def decays_between(total: Float[Tensor, "*batch step"], dtype: torch.dtype) -> Float[Tensor, "*batch step source"]:
    """``exp(G_t - G_s)`` for sources up to each step, 0 for later ones, from an inclusive running sum `G`.

    Masked before the exponential, too: above the diagonal the difference is positive and could overflow.
    """
    steps = total.shape[-1]
    future = torch.ones(steps, steps, dtype=torch.bool, device=total.device).triu(1)
    between = (total[..., :, None] - total[..., None, :]).to(dtype).masked_fill(future, 0)
    return decay_factor(between).masked_fill(future, 0)
