"""Diagonal decay of cells that hold one number (K = V = 1) on a CPU, through the fused element-wise scan.

RG-LRU, RWKV-4 and its normaliser, the cells of LSTM and GRU with their gates held fixed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import DiagonalDecay
from workbench.kernels.grouping import spread
from workbench.kernels.native.elementwise_scan import elementwise_scan, library
from workbench.kernels.precision import READ_AS_FLOAT32


def misfit(form: DiagonalDecay, initial_state: Tensor | None = None) -> str | None:
    """What keeps the form from the fused scan, as the end of a sentence; None when it fits."""
    if form.k.shape[-1] != 1 or form.v.shape[-1] != 1:
        return f"its state is {form.k.shape[-1]} x {form.v.shape[-1]} numbers a head instead of one"
    operands = (form.q, form.k, form.v, form.log_decay, form.rate, form.write, initial_state)
    if any(x is not None and (x.dtype not in READ_AS_FLOAT32 or x.device.type != "cpu") for x in operands):
        return "not every operand is float32, bfloat16 or float16 and on the CPU"
    return None


def available(form: DiagonalDecay, initial_state: Tensor | None = None) -> bool:
    """Whether the form has the layout and a compiled scan is there; compiles it on first use."""
    return misfit(form, initial_state) is None and library() is not None


def forward(
    form: DiagonalDecay, initial_state: Float[Tensor, "batch heads one one"] | None = None
) -> tuple[Float[Tensor, "batch time heads one"], Float[Tensor, "batch heads one one"]]:
    """Outputs and final state, differentiable.

    Raises:
        ValueError: the form's heads hold more than one number, or it is not on a CPU in at most float32.
    """
    history, final = _states(form, initial_state)
    read = history * _narrow(spread(form.q, form.heads, dim=2))
    return read[..., None].to(form.v.dtype), final


def states(
    form: DiagonalDecay, steps: Sequence[int], initial_state: Float[Tensor, "batch heads one one"] | None = None
) -> Float[Tensor, "batch steps heads one one"]:
    """The state after each of the listed steps, in the order listed; differentiable.

    Raises:
        ValueError: as `forward` does.
    """
    history, _ = _states(form, initial_state)
    return history[:, torch.as_tensor(steps, dtype=torch.long)][..., None, None]


def _states(
    form: DiagonalDecay, initial_state: Tensor | None
) -> tuple[Float[Tensor, "batch time heads"], Float[Tensor, "batch heads one one"]]:
    """Every state, and the last one."""
    reason = misfit(form, initial_state)
    if reason is not None:
        raise ValueError(f"the element-wise scan is for cells that hold one number, and {reason}: use chunked")
    update = _narrow(spread(form.k, form.heads, dim=2)) * _narrow(form.v)
    if form.write is not None:
        update = update * form.write.float()
    decay = _narrow(form.log_decay)
    if form.rate is not None:
        decay = decay * _narrow(form.rate)
    start = None if initial_state is None else initial_state[..., 0, 0].float()
    history = elementwise_scan(decay, update, start, logarithms=True)
    if form.time:
        last = history[:, -1].clone()  # a view would keep every state alive
    else:
        last = update.new_zeros(form.batch, form.heads) if start is None else start
    return history, last[..., None, None]


def _narrow(x: Float[Tensor, "*batch one"]) -> Float[Tensor, "*batch"]:
    return x[..., 0].float()
