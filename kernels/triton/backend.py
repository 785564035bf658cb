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

from workbench.kernels.forms import Delta, DiagonalDecay, Form, ScalarDecay
from workbench.kernels.triton.layout import LARGEST_KEY

_READ = (torch.float32, torch.float16, torch.bfloat16)
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
    if any(x.dtype not in _READ for x in operands):
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
    form: ScalarDecay | DiagonalDecay | Delta, initial_state: Float[Tensor, "batch heads key value"] | None = None
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state, differentiable once; the state is float32."""
    outputs, state = _operations().forward(form, initial_state)
    return outputs, state


def _operations() -> ModuleType:
    from workbench.kernels.triton import operations

    return operations
