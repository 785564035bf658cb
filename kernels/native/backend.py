"""The seam between the dispatcher and the compiled loops for CPUs: what they compute, and their results for forms."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels import reading
from workbench.kernels.delta.transposed import transposed
from workbench.kernels.diagonal_decay import cells, selective
from workbench.kernels.diagonal_decay.chunked import backwards as diagonal_backwards
from workbench.kernels.forms import Delta, DiagonalDecay, Form, Reader, ScalarDecay
from workbench.kernels.native import energies, recurrence
from workbench.kernels.native.recurrence import Operands
from workbench.kernels.precision import READ_AS_FLOAT32
from workbench.kernels.scalar_decay.chunked import backwards as scalar_backwards

PerToken = Float[Tensor, "batch time heads"]


def misfit(form: Form, initial_state: Tensor | None = None) -> str | None:
    """What keeps the form from the loops, as the end of a sentence; None when they compute it."""
    if not isinstance(form, ScalarDecay | DiagonalDecay | Delta):
        return "there are no loops for it"
    operands = [x for x in (*vars(form).values(), initial_state) if isinstance(x, Tensor)]
    if any(x.device.type != "cpu" for x in operands):
        return "not every operand is on the CPU"
    if any(x.dtype not in READ_AS_FLOAT32 for x in operands):
        return "not every operand is float32, float16 or bfloat16"
    return None


def available(form: Form, initial_state: Tensor | None = None) -> bool:
    """Whether the form fits and the loops are compiled; compiles them on first use."""
    return misfit(form, initial_state) is None and recurrence.library() is not None


def forward(
    form: Reader, initial_state: Float[Tensor, "batch heads key value"] | None = None
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state, differentiable once; the state is float32."""
    if isinstance(form, DiagonalDecay) and cells.available(form, initial_state):
        return cells.forward(form, initial_state)
    if isinstance(form, DiagonalDecay) and selective.available(form, initial_state):
        return selective.forward(form, initial_state)
    out, state = recurrence.recurrence(_operands(form), initial_state)
    return out.to(form.v.dtype), state


def states_misfit(form: Form, initial_state: Tensor | None = None) -> str | None:
    """What keeps the form's states from the loops, as the end of a sentence; None when they compute them."""
    return misfit(form, initial_state) or _recorded(form, initial_state, "its states have none here")


def states(
    form: Reader, steps: list[int], initial_state: Float[Tensor, "batch heads key value"] | None = None
) -> Float[Tensor, "batch steps heads key value"]:
    """The states after the listed steps, which go up, in one pass."""
    with torch.no_grad():
        if isinstance(form, DiagonalDecay) and cells.available(form, initial_state):
            return cells.states(form, steps, initial_state)
        if isinstance(form, DiagonalDecay) and selective.available(form, initial_state):
            return selective.states(form, steps, initial_state)
        return recurrence.states(_operands(form), [step + 1 for step in steps], initial_state)


def statistics_misfit(form: Form) -> str | None:
    """What keeps the form's statistics from the loops, as the end of a sentence; None when they compute them."""
    return misfit(form) or _recorded(form, None, "its statistics have none here")


def row_sum(form: Reader) -> PerToken:
    """``sum_s A[t, s]``: the layer's own scan of ones."""
    return forward(replace(form, v=_ones(form)))[0][..., 0]


def column_sum(form: Reader) -> PerToken:
    """``sum_t A[t, s]``: the row sums of the transposed matrix, which is a scan backwards in time."""
    if isinstance(form, Delta):
        sums = reading.row_sum(transposed(form), row_sum).flip(1)
    else:
        sums = row_sum(_backwards(form)).flip(1)
    return sums if form.write is None else sums * form.write.float()


def row_energy(form: Reader) -> PerToken:
    """``sum_s A[t, s]^2``."""
    return _energies(form, distance=False)


def energy_distance(form: Reader) -> PerToken:
    """``sum_s A[t, s]^2 (t - s)``, in tokens."""
    return _energies(form, distance=True)


def _recorded(form: Form, initial_state: Tensor | None, what: str) -> str | None:
    operands = (*vars(form).values(), initial_state)
    recorded = torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in operands)
    return f"a gradient is asked for, and {what}" if recorded else None


def _energies(form: Reader, distance: bool) -> PerToken:
    if isinstance(form, DiagonalDecay) and form.rate is not None:
        return energies.energies(_operands(replace(form, rate=None)), form.rate.float(), distance)
    return energies.energies(_operands(form), None, distance)


def _operands(form: Reader) -> Operands:
    """What the recurrence reads, in float32."""
    log_decay = form.log_decay
    if isinstance(form, ScalarDecay):
        log_decay = log_decay[..., None]
    elif isinstance(form, DiagonalDecay) and form.rate is not None:
        log_decay = log_decay.float() * form.rate.float()
    probe, erase = (form.probe, form.erase) if isinstance(form, Delta) else (None, None)
    operands = Operands(form.q, form.k, form.v, log_decay, form.write, probe, erase, erases=isinstance(form, Delta))
    return operands.each(Tensor.float)


def _backwards(form: ScalarDecay | DiagonalDecay) -> ScalarDecay | DiagonalDecay:
    return scalar_backwards(form) if isinstance(form, ScalarDecay) else diagonal_backwards(form)


def _ones(form: Reader) -> Float[Tensor, "batch time heads 1"]:
    return torch.ones((), device=form.v.device).expand(*form.v.shape[:3], 1)
