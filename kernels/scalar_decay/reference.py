"""Scalar decay, one step at a time: the oracle."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import ScalarDecay
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype

OnState = Callable[[int, Tensor], Tensor | None]


def forward(
    form: ScalarDecay,
    initial_state: Float[Tensor, "batch heads key value"] | None = None,
    on_state: OnState | None = None,
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state; `on_state` sees each state after its update and may return a replacement."""
    dtype = compute_dtype(form.q, form.k, form.v, form.log_decay, form.write, initial_state)
    batch, time, heads, value = form.v.shape
    q = spread(form.q, heads, dim=2).to(dtype)
    k = spread(form.k, heads, dim=2).to(dtype)
    v = form.v.to(dtype)
    decay = form.log_decay.to(dtype).exp()
    write = torch.ones_like(decay) if form.write is None else form.write.to(dtype)

    state = v.new_zeros(batch, heads, k.shape[-1], value) if initial_state is None else initial_state.to(dtype)
    outputs = []
    for t in range(time):
        source = write[:, t, :, None] * k[:, t]
        state = decay[:, t, :, None, None] * state + source[..., None] * v[:, t, :, None, :]
        if on_state is not None:
            edited = on_state(t, state)
            state = state if edited is None else edited
        outputs.append((q[:, t, :, :, None] * state).sum(-2))
    return (torch.stack(outputs, dim=1) if outputs else v).to(form.v.dtype), state


def dense(form: ScalarDecay) -> Float[Tensor, "batch heads time source"]:
    """The whole matrix, row by row, by carrying every source's decayed key forward."""
    dtype = compute_dtype(form.q, form.k, form.v, form.log_decay, form.write)
    batch, time, heads, _ = form.v.shape
    q = spread(form.q, heads, dim=2).to(dtype)
    k = spread(form.k, heads, dim=2).to(dtype)
    decay = form.log_decay.to(dtype).exp()
    write = torch.ones_like(decay) if form.write is None else form.write.to(dtype)

    carried = k.new_zeros(batch, heads, time, k.shape[-1])
    rows = []
    for t in range(time):
        carried = decay[:, t, :, None, None] * carried
        carried[:, :, t] = write[:, t, :, None] * k[:, t]
        rows.append((carried * q[:, t, :, None, :]).sum(-1))
    return torch.stack(rows, dim=2) if rows else q.new_zeros(batch, heads, 0, 0)
