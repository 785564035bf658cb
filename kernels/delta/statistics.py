"""What can be read from A under the delta rule in time linear in its length.

Row sums are the layer's own scan of ones, column sums the scan of all queries backwards. Energies follow
``W_t = M_t W_{t-1} M_t' + write_t^2 k_t k_t'`` with ``sum_s A[t, s]^2 = q_t' W_t q_t``, a chunk at a time.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.delta.chunked import form_dtype, forward, stretches
from workbench.kernels.delta.maps import maps
from workbench.kernels.forms import Delta


def row_sum(form: Delta) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]``."""
    ones = torch.ones((), dtype=form_dtype(form), device=form.v.device).expand(*form.v.shape[:3], 1)
    return forward(replace(form, v=ones))[0][..., 0]


def column_sum(form: Delta) -> Float[Tensor, "batch time heads"]:
    """``sum_t A[t, s]``."""
    batch, time, heads, _ = form.v.shape
    dtype = form_dtype(form)
    # The sum of all later queries, carried back to the end of a chunk.
    later = form.q.new_zeros(batch, heads, 1, form.k.shape[-1], dtype=dtype)
    parts = [later.new_zeros(batch, heads, 0)]
    for stretch in stretches(form, dtype, reverse=True):
        across = maps(stretch)
        inside, starts = across.matrix.sum(-2), across.queries.sum(-2, keepdim=True)
        for index in reversed(range(across.count)):
            parts.append(inside[:, :, index] + (later @ across.keys[:, :, index])[:, :, 0])
            later = starts[:, :, index] + later @ across.transition[:, :, index]
    return torch.cat(parts[::-1], dim=-1)[..., :time].transpose(1, 2)


def row_energy(form: Delta) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]^2``."""
    return _energies(form, distance=False)


def energy_distance(form: Delta) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]^2 (t - s)``, in tokens."""
    return _energies(form, distance=True)


def _energies(form: Delta, distance: bool) -> Float[Tensor, "batch time heads"]:
    dtype = form_dtype(form)
    batch, time, heads, _ = form.v.shape
    width = form.k.shape[-1]
    # `near` sums all earlier sources' outer products as they are left at the chunk's start, `far` the same times their
    # distance from its first step.
    near = form.q.new_zeros(batch, heads, width, width, dtype=dtype)
    far = torch.zeros_like(near)
    parts = [near.new_zeros(batch, heads, 0)]
    for stretch in stretches(form, dtype):
        across = maps(stretch)
        step = torch.arange(across.length, device=near.device, dtype=dtype)
        squares = across.matrix.square()
        inside = (squares * (step[:, None] - step)).sum(-1) if distance else squares.sum(-1)
        for index in range(across.count):
            queries, keys, transition = (x[:, :, index] for x in (across.queries, across.keys, across.transition))
            carried = ((queries @ near) * queries).sum(-1)
            if distance:
                carried = ((queries @ far) * queries).sum(-1) + step * carried
                aged = (keys * (across.length - step)) @ keys.mT
                far = transition @ (far + across.length * near) @ transition.mT + aged
            parts.append(inside[:, :, index] + carried)
            near = transition @ near @ transition.mT + keys @ keys.mT
    return torch.cat(parts, dim=-1)[..., :time].transpose(1, 2)
