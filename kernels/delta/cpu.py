"""Delta rules on a CPU, in compiled loops."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Delta
from workbench.kernels.native import recurrence


def misfit(form: Delta, initial_state: Tensor | None = None) -> str | None:
    """What keeps the form from the compiled loops; None when they compute it."""
    return recurrence.misfit(form.q, form.k, form.v, form.log_decay, form.write, form.probe, form.erase, initial_state)


def available(form: Delta, initial_state: Tensor | None = None) -> bool:
    """Whether the form fits and the loops are compiled; compiles them on first use."""
    return misfit(form, initial_state) is None and recurrence.library() is not None


def forward(
    form: Delta, initial_state: Float[Tensor, "batch heads key value"] | None = None
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state, differentiable; the state is float32."""
    out, state = recurrence.recurrence(operands(form), initial_state)
    return out.to(form.v.dtype), state


def operands(form: Delta) -> recurrence.Operands:
    """What the loops read."""
    return recurrence.Operands.of(
        form.q, form.k, form.v, form.log_decay, form.write, form.probe, form.erase, erases=True
    )
