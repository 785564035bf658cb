"""The seam between the dispatcher and the Triton kernels: what they compute, whether they can run, and their results.

Nothing here imports Triton before a form is about to be computed by it: a machine without Triton imports this module.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Delta, DiagonalDecay, Form, Reader, ScalarDecay
from workbench.kernels.precision import READ_AS_FLOAT32
from workbench.kernels.triton.layout import LARGEST_ERASING_KEY, LARGEST_KEY

# The first generation with tf32 products and room for the tiles: sm_80.
_OLDEST = (8, 0)
PerToken = Float[Tensor, "batch time heads"]


def misfit(form: Form, initial_state: Tensor | None = None) -> str | None:
    """What keeps the form from the kernels, as the end of a sentence; None when they compute it."""
    if not isinstance(form, ScalarDecay | DiagonalDecay | Delta):
        return "there is no kernel for it"
    operands = [x for x in (*vars(form).values(), initial_state) if isinstance(x, Tensor)]
    if any(x.device != form.v.device for x in operands):
        return "its initial state is on another device"
    if form.v.device.type != "cuda" and not (form.v.device.type == "cpu" and interpreted()):
        return f"it is on {form.v.device}, which is no CUDA device"
    if any(x.dtype not in READ_AS_FLOAT32 for x in operands):
        return "not every operand is float32, float16 or bfloat16"
    if form.k.shape[-1] > LARGEST_KEY:
        return f"its keys are {form.k.shape[-1]} wide, more than {LARGEST_KEY}"
    return None


def available(form: Form, initial_state: Tensor | None = None) -> bool:
    """Whether the form fits, Triton is installed and the device can run it."""
    return misfit(form, initial_state) is None and _runs_on(form.v.device)


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on a CPU: ``TRITON_INTERPRET=1``, from before its import."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def _runs_on(device: torch.device) -> bool:
    if find_spec("triton") is None:
        return False
    return device.type == "cpu" or (
        torch.version.cuda is not None and torch.cuda.get_device_capability(device) >= _OLDEST
    )


def forward(
    form: Reader, initial_state: Float[Tensor, "batch heads key value"] | None = None
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state, differentiable once; the state is float32."""
    result: tuple[Tensor, Tensor] = _operations().forward(form, initial_state)
    return result


def statistics_misfit(form: Form) -> str | None:
    """What keeps the form's statistics from the kernels, as the end of a sentence; None when they compute them."""
    reason = misfit(form)
    if reason is not None:
        return reason
    if isinstance(form, Delta) and form.k.shape[-1] > LARGEST_ERASING_KEY:
        return f"its keys are {form.k.shape[-1]} wide, more than {LARGEST_ERASING_KEY} where something is erased"
    if torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in vars(form).values()):
        return "a gradient is asked for, and its statistics have none here"
    return None


def row_sum(form: Reader) -> PerToken:
    """``sum_s A[t, s]``."""
    sums: PerToken = _statistics().row_sum(form)
    return sums


def column_sum(form: Reader) -> PerToken:
    """``sum_t A[t, s]``."""
    sums: PerToken = _statistics().column_sum(form)
    return sums


def row_energy(form: Reader) -> PerToken:
    """``sum_s A[t, s]^2``."""
    energies: PerToken = _statistics().row_energy(form)
    return energies


def energy_distance(form: Reader) -> PerToken:
    """``sum_s A[t, s]^2 (t - s)``, in tokens."""
    distances: PerToken = _statistics().energy_distance(form)
    return distances


def _operations() -> ModuleType:
    from workbench.kernels.triton import operations

    return operations


def _statistics() -> ModuleType:
    from workbench.kernels.triton import statistics

    return statistics
