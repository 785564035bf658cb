"""The seam between streamed reductions and the Triton kernel that walks over a matrix; imports no Triton before use."""

from __future__ import annotations

from workbench.kernels.forms import Form, Reader, Softmax, Toeplitz
from workbench.kernels.streaming.result import Plan, Streamed
from workbench.kernels.triton import backend
from workbench.kernels.triton.layout import LARGEST_WALKED_KEY


def misfit(form: Form, plan: Plan) -> str | None:
    """What keeps the form's reductions from the kernel, as the end of a sentence; None when it computes them."""
    reason = backend.misfit(form)
    if reason is not None or isinstance(form, Softmax | Toeplitz):
        return reason
    if "histogram" in plan:
        return "a histogram is asked for"
    if form.k.shape[-1] > LARGEST_WALKED_KEY:
        return f"its keys are {form.k.shape[-1]} wide, more than {LARGEST_WALKED_KEY}"
    return None if form.time and form.k.shape[-1] else "there is nothing to walk over"


def available(form: Form, plan: Plan) -> bool:
    """Whether the form's reductions fit, Triton is installed and the device can run it."""
    return misfit(form, plan) is None and backend.available(form)


def reduced(form: Reader, plan: Plan) -> Streamed:
    """The streamed reductions of a form without `read` and `diagonal`."""
    from workbench.kernels.triton import streaming

    return streaming.reduced(form, plan)
