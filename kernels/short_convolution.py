"""The short causal depthwise convolution before a recurrence, fused on a CPU and PyTorch's own elsewhere."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from workbench.kernels.backends import resolve
from workbench.kernels.native.convolution import causal_convolution, fits


def short_convolution(
    x: Float[Tensor, "batch time channel"],
    weight: Float[Tensor, "channel taps"],
    bias: Float[Tensor, " channel"] | None = None,
    past: Float[Tensor, "batch before channel"] | None = None,
    silu: bool = False,
) -> Float[Tensor, "batch time channel"]:
    """``bias + sum_j weight[j] x[t - (taps - 1) + j]`` a channel, or that times its sigmoid; differentiable.

    Args:
        past: at most ``taps - 1`` inputs before the first, the latest last; before those, and for None, zeros.
        silu: apply ``c sigmoid(c)`` in the same pass.
    """
    if resolve("auto") in ("auto", "cpu") and fits(x, weight, bias, past):
        return causal_convolution(x, weight, bias, past, silu)
    columns = x.mT if past is None else torch.cat([past, x], dim=1).mT
    missing = weight.shape[1] - 1 - (columns.shape[-1] - x.shape[1])
    y = F.conv1d(F.pad(columns, (missing, 0)), weight[:, None], bias, groups=weight.shape[0]).mT
    return y * torch.sigmoid(y) if silu else y
