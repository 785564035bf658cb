"""The short causal depthwise convolution in front of Mamba's state."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.zoo.cache import LayerCache


def causal_convolution(
    x: Float[Tensor, "batch time channel"], conv: nn.Conv1d, cache: LayerCache | None = None
) -> Float[Tensor, "batch time channel"]:
    """``y[t] = bias + sum_j weight[j] x[t - (taps-1) + j]`` for each channel, then SiLU.

    ``conv`` holds the parameters (weight ``[channel, 1, taps]``). The cache keeps the last ``taps - 1`` inputs under
    ``conv``, as ``[batch, time, channel]``; before the first token they are zeros.
    """
    taps = conv.weight.shape[-1]
    past = cache.get("conv") if cache is not None else None
    if past is None:
        past = x.new_zeros(x.shape[0], taps - 1, x.shape[2])
    extended = torch.cat([past, x], dim=1)
    if cache is not None:
        cache["conv"] = extended[:, extended.shape[1] - (taps - 1) :]
    return F.silu(F.conv1d(extended.transpose(1, 2), conv.weight, conv.bias, groups=x.shape[2]).transpose(1, 2))
