"""Mamba-1's layout of diagonal decay on a CPU, through the fused selective scan: V = 1, a time step times a rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import DiagonalDecay
from workbench.kernels.native.selective_scan import fused_scan, fused_states, library
from workbench.kernels.precision import READ_AS_FLOAT32


def misfit(form: DiagonalDecay, initial_state: Tensor | None = None) -> str | None:
    """What keeps the form from the fused scan, as the end of a sentence; None when it fits."""
    if form.v.shape[-1] != 1:
        return f"its values are {form.v.shape[-1]} wide instead of 1"
    if form.rate is None or form.log_decay.shape[-1] != 1:
        return "its decay is not a time step times a rate"
    if not 0 < form.q.shape[2] < max(form.heads, 2) or form.heads % form.q.shape[2]:
        return f"its {form.heads} heads share {form.q.shape[2]} groups of queries"
    operands = [getattr(form, field.name) for field in fields(form)]
    if any(
        x is not None and (x.dtype not in READ_AS_FLOAT32 or x.device.type != "cpu") for x in (*operands, initial_state)
    ):
        return "not every operand is float32, bfloat16 or float16 and on the CPU"
    return None


def available(form: DiagonalDecay, initial_state: Tensor | None = None) -> bool:
    """Whether the form has the layout and a compiled scan is there; compiles it on first use."""
    return misfit(form, initial_state) is None and library() is not None


def forward(
    form: DiagonalDecay, initial_state: Float[Tensor, "batch heads key one"] | None = None
) -> tuple[Float[Tensor, "batch time heads one"], Float[Tensor, "batch heads key one"]]:
    """Outputs and final state, differentiable; the state is float32.

    Raises:
        ValueError: the form does not have Mamba-1's layout.
    """
    done = [
        fused_scan(part.x, part.step, part.write, part.rate, part.b, part.c, part.start)
        for part in _parts(form, initial_state)
    ]
    y, final = (_joined([part[place] for part in done], dim) for place, dim in ((0, 2), (1, 1)))
    return y[..., None].to(form.v.dtype), final[..., None]


def states(
    form: DiagonalDecay, at: Sequence[int], initial_state: Float[Tensor, "batch heads key one"] | None = None
) -> Float[Tensor, "batch steps heads key one"]:
    """The states after the listed steps, which go up, in one pass and without derivatives.

    Raises:
        ValueError: the form does not have Mamba-1's layout, or a step is not in the run.
    """
    done = [
        fused_states(part.x, part.step, part.write, part.rate, part.b, at, part.start)
        for part in _parts(form, initial_state)
    ]
    return _joined(done, dim=2)[..., None]


def _joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([*parts], dim)


@dataclass(frozen=True)
class _Part:
    """The channels that read one group of queries and keys, as the scan takes them."""

    x: Tensor
    step: Tensor
    write: Tensor | None
    rate: Tensor
    b: Tensor
    c: Tensor
    start: Tensor | None


def _parts(form: DiagonalDecay, initial_state: Tensor | None) -> Iterator[_Part]:
    reason = misfit(form, initial_state)
    if reason is not None or form.rate is None:
        raise ValueError(f"the selective scan does not fit: {reason}")
    groups = form.q.shape[2]
    width = form.heads // groups
    for group in range(groups):
        span = slice(group * width, (group + 1) * width)
        yield _Part(
            x=form.v[:, :, span, 0].float(),
            step=form.log_decay[:, :, span, 0].float(),
            write=None if form.write is None else form.write[:, :, span].float(),
            rate=form.rate[span].float(),
            b=form.k[:, :, group].float(),
            c=form.q[:, :, group].float(),
            start=None if initial_state is None else initial_state[:, span, :, 0].float(),
        )
