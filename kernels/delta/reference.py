"""The delta rule, one step at a time: the oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Delta
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype

OnState = Callable[[int, Tensor], Tensor | None]


@dataclass(frozen=True)
class Operands:
    """A form's operands in the dtype they are computed in, every default filled in and one entry a head.

    Attributes:
        source: ``w k``, what a step's value is written along.
        decay: the factor itself, not its logarithm; the last dimension may be 1.
    """

    q: Float[Tensor, "batch time heads key"]
    probe: Float[Tensor, "batch time heads key"]
    erase: Float[Tensor, "batch time heads key"]
    source: Float[Tensor, "batch time heads key"]
    decay: Float[Tensor, "batch time heads key_or_one"]


def form_dtype(form: Delta, *others: Tensor | None) -> torch.dtype:
    """The dtype in which the form's matrix is computed."""
    return compute_dtype(form.q, form.k, form.probe, form.erase, form.log_decay, form.write, *others)


def operands(form: Delta, dtype: torch.dtype) -> Operands:
    """The form's operands, spelled out."""
    q, k = (spread(x, form.heads, dim=2).to(dtype) for x in (form.q, form.k))
    source = k if form.write is None else form.write.to(dtype)[..., None] * k
    return Operands(
        q=q,
        probe=k if form.probe is None else spread(form.probe, form.heads, dim=2).to(dtype),
        erase=source if form.erase is None else spread(form.erase, form.heads, dim=2).to(dtype),
        source=source,
        decay=form.log_decay.to(dtype).exp(),
    )


def forward(
    form: Delta,
    initial_state: Float[Tensor, "batch heads key value"] | None = None,
    on_state: OnState | None = None,
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state; `on_state` sees each state after its update and may return a replacement."""
    dtype = form_dtype(form, form.v, initial_state)
    batch, time, heads, value = form.v.shape
    given, v = operands(form, dtype), form.v.to(dtype)
    state = v.new_zeros(batch, heads, form.k.shape[-1], value) if initial_state is None else initial_state.to(dtype)
    outputs = []
    for t in range(time):
        state = given.decay[:, t, :, :, None] * state
        found = (given.probe[:, t, :, :, None] * state).sum(-2)
        state = state - given.erase[:, t, :, :, None] * found[..., None, :]
        state = state + given.source[:, t, :, :, None] * v[:, t, :, None, :]
        if on_state is not None:
            edited = on_state(t, state)
            state = state if edited is None else edited
        outputs.append((given.q[:, t, :, :, None] * state).sum(-2))
    return (torch.stack(outputs, dim=1) if outputs else v).to(form.v.dtype), state


def dense(form: Delta) -> Float[Tensor, "batch heads time source"]:
    """The whole matrix, row by row, by carrying what is left of every source's key forward."""
    batch, time, heads, _ = form.v.shape
    given = operands(form, form_dtype(form))
    carried = given.q.new_zeros(batch, heads, time, form.k.shape[-1])
    rows = []
    for t in range(time):
        carried = given.decay[:, t, :, None, :] * carried
        found = (carried * given.probe[:, t, :, None, :]).sum(-1)
        carried = carried - found[..., None] * given.erase[:, t, :, None, :]
        carried[:, :, t] = given.source[:, t]
        rows.append((carried * given.q[:, t, :, None, :]).sum(-1))
    return torch.stack(rows, dim=2) if rows else given.q.new_zeros(batch, heads, 0, 0)
