"""Streams in the compiled loops: float32 on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.kernels.forms import Delta, DiagonalDecay, Form, Reader, ScalarDecay, Softmax, Toeplitz
from workbench.kernels.native import stream as native
from workbench.kernels.precision import READ_AS_FLOAT32
from workbench.kernels.streaming.bounds import reach
from workbench.kernels.streaming.result import Plan, Streamed, binned


def misfit(form: Form, plan: Plan) -> str | None:
    """What keeps a plain form from the loops, as the end of a sentence; None when they compute it."""
    if isinstance(form, Toeplitz):
        return "it is a filter"
    operands: tuple[Tensor | None, ...]
    if isinstance(form, Softmax):
        operands = (form.q, form.k, form.bias, form.sinks)
    else:
        operands = (form.q, form.k, form.log_decay, form.write, *_others(form))
    if any(x is not None and (x.dtype not in READ_AS_FLOAT32 or x.device.type != "cpu") for x in operands):
        return "not every operand is float32 (or narrower) and on the CPU"
    return None


def available(form: Form, plan: Plan) -> bool:
    """Whether the loops compute the form and are compiled; compiles them on first use. An empty form is PyTorch's."""
    library = native.softmax_library if isinstance(form, Softmax) else native.library
    nothing = 0 in (form.batch, form.time, form.heads)
    return misfit(form, plan) is None and not nothing and library() is not None


def reduced(form: Reader | Softmax, plan: Plan) -> Streamed:
    """The reductions of a plain form that fits."""
    return _packed(_pattern(form, plan) if isinstance(form, Softmax) else _walked(form, plan), plan)


def _pattern(form: Softmax, plan: Plan) -> dict[str, Tensor]:
    q, k, bias, sinks = form.q.float(), form.k.float(), _wide(form.bias), _wide(form.sinks)
    return native.softmax(q, k, form.scale, form.mask, bias, form.softcap, sinks, plan.wanted, plan.top)


def _walked(form: Reader, plan: Plan) -> dict[str, Tensor]:
    scalar = isinstance(form, ScalarDecay)
    probe, erase = (form.probe, form.erase) if isinstance(form, Delta) else (None, None)
    operands = native.Operands(
        q=form.q.float(),
        k=form.k.float(),
        log_decay=form.log_decay[..., None].float() if scalar else form.log_decay.float(),
        write=_wide(form.write),
        rate=_wide(form.rate) if isinstance(form, DiagonalDecay) else None,
        probe=_wide(probe),
        erase=_wide(erase),
        one_decay=scalar,
        erases=isinstance(form, Delta),
        reach=reach(form) if plan.tolerance else None,
    )
    return native.recurrent(operands, plan.wanted, plan.top, plan.tolerance)


def _packed(found: dict[str, Tensor], plan: Plan) -> Streamed:
    """What the loops return, in the layout and the dtype of a result."""
    by_distance = found.pop("by_distance", None)
    results = {name: (x if x.dtype == torch.long else x.float()).transpose(1, 2) for name, x in found.items()}
    if by_distance is not None:
        results["histogram"] = binned(by_distance, plan.edges).float()
        results["edges"] = torch.tensor(plan.edges)
    return Streamed(**results)


def _wide(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.float()


def _others(form: Reader) -> tuple[Tensor | None, ...]:
    if isinstance(form, DiagonalDecay):
        return (form.rate,)
    return (form.probe, form.erase) if isinstance(form, Delta) else ()
