"""Mamba-1's layout of diagonal decay on a CPU, through the fused selective scan."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import DiagonalDecay
from workbench.kernels.native.selective_scan import COMPILED_VECTORS, LANES, library, selective_scan

# A time step this small decays nothing in float32, and a value divided by it twice (by autograd) stays finite.
SMALLEST_STEP = 1e-12
LARGEST_STATE = COMPILED_VECTORS[-1] * LANES


def misfit(form: DiagonalDecay, initial_state: Tensor | None) -> str | None:
    """What keeps the form from the fused scan; None when it fits."""
    if form.v.shape[-1] != 1:
        return f"its values are {form.v.shape[-1]} wide instead of 1"
    if form.rate is None or form.log_decay.shape[-1] != 1:
        return "its decay is not a time step times a rate"
    if form.q.shape[2] != 1:
        return f"its queries come in {form.q.shape[2]} groups instead of 1"
    if form.k.shape[-1] > LARGEST_STATE:
        return f"its state holds {form.k.shape[-1]} values a channel, more than {LARGEST_STATE}"
    operands = (form.q, form.k, form.v, form.log_decay, form.rate, form.write, initial_state)
    if any(x is not None and (x.dtype != torch.float32 or x.device.type != "cpu") for x in operands):
        return "not every operand is float32 and on the CPU"
    recorded = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in operands)
    if recorded and (form.write is None or not torch.equal(form.write, -form.log_decay[..., 0])):
        # The division by the step below would cancel in the step's gradient, and leave three digits of it.
        return "a gradient is asked for while its write is not its time step"
    return None


def available(form: DiagonalDecay, initial_state: Tensor | None = None) -> bool:
    """Whether the form has the layout and a compiled scan is there; compiles it on first use."""
    return misfit(form, initial_state) is None and library() is not None


def forward(
    form: DiagonalDecay, initial_state: Float[Tensor, "batch heads key value"] | None = None
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state, differentiable.

    Raises:
        ValueError: the form does not have Mamba-1's layout.
    """
    reason = misfit(form, initial_state)
    if reason is not None or form.rate is None:
        raise ValueError(f"the cpu backend computes Mamba-1's selective scan, and {reason}: use chunked")
    dt = -form.log_decay[..., 0]
    # The scan multiplies its input by the step that also decays; a form may have the two apart.
    step = dt.clamp(min=SMALLEST_STEP)
    v = form.v[..., 0]
    x = (v if form.write is None else v * form.write) / step
    state = None if initial_state is None else initial_state[..., 0]
    y, final = selective_scan(x, step, form.rate, form.k[:, :, 0], form.q[:, :, 0], state)
    return y[..., None], final[..., None]
