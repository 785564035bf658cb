"""Where training of the state-space mixers starts: the reference's weights, or the mimetic ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


@torch.no_grad()
def initialise_state_space(
    linears: Iterable[nn.Linear],
    conv: nn.Conv1d,
    log_rate: Float[Tensor, ...],
    source_and_read: Float[Tensor, "twice_state inner"],
    options: Mapping[str, Any],
) -> None:
    """Draw projections and convolution as the references do; then, if the options ask for it, the mimetic changes.

    Mimetic initialisation (Trockman et al. 2024, arXiv:2410.11135): slow decay, what is read equal to what is written
    (`source_and_read`: the rows that project to B and, after them, those that project to C), and a convolution near the
    identity. `log_rate` is ``A_log``, set by the caller before.

    Raises:
        ValueError: the option ``initialisation`` names neither.
    """
    for linear in linears:
        nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5))
    nn.init.kaiming_uniform_(conv.weight, a=math.sqrt(5))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    scheme = options.get("initialisation", "reference")
    if scheme == "mimetic":
        log_rate.sub_(math.log(options.get("slow_decay", 100.0)))
        source, read = source_and_read.chunk(2)
        read.copy_(source)
        conv.weight.mul_(0.3)
        conv.weight[:, 0, -1] += 1.0
    elif scheme != "reference":
        raise ValueError(f"initialisation {scheme!r} is neither 'reference' nor 'mimetic'")
