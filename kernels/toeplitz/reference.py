"""A finite filter, one step at a time through its shift register: the oracle."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Toeplitz
from workbench.kernels.precision import compute_dtype

OnState = Callable[[int, Tensor], Tensor | None]


def forward(
    form: Toeplitz,
    initial_state: Float[Tensor, "batch heads past value"] | None = None,
    on_state: OnState | None = None,
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads past value"]]:
    """Outputs and final state; `on_state` sees each state after its update and may return a replacement.

    The value that leaves the register at a step is read once more in this step, as it was before the update.
    """
    dtype = compute_dtype(form.v, form.kernel, initial_state)
    v, kernel = form.v.to(dtype), form.kernel.to(dtype)
    past = kernel.shape[1] - 1
    if initial_state is None:
        state = v.new_zeros(form.batch, form.heads, past, v.shape[-1])
    else:
        state = initial_state.to(dtype)
    outputs = []
    for t in range(form.time):
        register = torch.cat([v[:, t, :, None], state], dim=2)
        state, leaving = register.split([past, 1], dim=2)
        if on_state is not None:
            edited = on_state(t, state)
            state = state if edited is None else edited
        outputs.append((kernel[..., None] * torch.cat([state, leaving], dim=2)).sum(2))
    return (torch.stack(outputs, dim=1) if outputs else v).to(form.v.dtype), state


def dense(form: Toeplitz) -> Float[Tensor, "batch heads time source"]:
    """The whole matrix, a diagonal a lag."""
    kernel = form.kernel.to(compute_dtype(form.kernel))
    result = kernel.new_zeros(form.heads, form.time, form.time)
    for lag in range(min(form.time, kernel.shape[1])):
        result = result + torch.diag_embed(kernel[:, lag, None].expand(-1, form.time - lag), offset=-lag)
    return result.expand(form.batch, -1, -1, -1)
