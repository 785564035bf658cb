"""Diagonal decay on a CPU, in compiled loops: those of its layout where it has one, else those of the decays."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from workbench.kernels.diagonal_decay import cells, selective
from workbench.kernels.forms import DiagonalDecay
from workbench.kernels.native import recurrence


def misfit(form: DiagonalDecay, initial_state: Tensor | None = None) -> str | None:
    """What keeps the form from the compiled loops; None when they compute it."""
    return recurrence.misfit(form.q, form.k, form.v, form.log_decay, form.rate, form.write, initial_state)


def available(form: DiagonalDecay, initial_state: Tensor | None = None) -> bool:
    """Whether the form fits and the loops are compiled; compiles them on first use."""
    return misfit(form, initial_state) is None and recurrence.library() is not None


def forward(
    form: DiagonalDecay, initial_state: Float[Tensor, "batch heads key value"] | None = None
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state, differentiable; the state is float32."""
    for layout in (cells, selective):
        if layout.available(form, initial_state):
            return layout.forward(form, initial_state)
    out, state = recurrence.recurrence(operands(form), initial_state)
    return out.to(form.v.dtype), state


def operands(form: DiagonalDecay) -> recurrence.Operands:
    """What the loops read."""
    log_decay = form.log_decay.float()
    if form.rate is not None:
        log_decay = log_decay * form.rate.float()
    elif log_decay.shape[-1] != form.k.shape[-1]:
        log_decay = log_decay.expand(*log_decay.shape[:-1], form.k.shape[-1])
    return recurrence.Operands.of(form.q, form.k, form.v, log_decay, form.write)
