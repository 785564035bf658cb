"""What can be read from A under scalar decay in time linear in its length.

Row sums are the layer's own scan of ones. Energies follow ``W_t = a_t^2 W_{t-1} + write_t^2 k_t k_t'`` with
``sum_s A[t, s]^2 = q_t' W_t q_t``, a chunk at a time.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import ScalarDecay
from workbench.kernels.precision import compute_dtype
from workbench.kernels.scalar_decay.chunked import backwards, chunks, forward


def row_sum(form: ScalarDecay) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]``."""
    dtype = compute_dtype(form.q, form.k, form.log_decay, form.write)
    ones = torch.ones((), dtype=dtype, device=form.v.device).expand(*form.v.shape[:3], 1)
    return forward(replace(form, v=ones))[0][..., 0]


def column_sum(form: ScalarDecay) -> Float[Tensor, "batch time heads"]:
    """``sum_t A[t, s]``: the row sums of the transposed matrix, which is a scan backwards in time."""
    sums = row_sum(backwards(form)).flip(1)
    return sums if form.write is None else sums * form.write.to(sums.dtype)


def row_energy(form: ScalarDecay) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]^2``."""
    return _energies(form, distance=False)


def energy_distance(form: ScalarDecay) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]^2 (t - s)``, in tokens."""
    return _energies(form, distance=True)


def _energies(form: ScalarDecay, distance: bool) -> Float[Tensor, "batch time heads"]:
    dtype = compute_dtype(form.q, form.k, form.log_decay, form.write)
    batch, _, heads, _ = form.v.shape
    width = form.k.shape[-1]
    # `near` sums k k' over all sources before the chunk, `far` the same times their distance from its first step.
    near = form.q.new_zeros(batch, heads, width, width, dtype=dtype)
    far = torch.zeros_like(near)
    results = []
    for chunk in chunks(form, dtype):
        step = torch.arange(chunk.q.shape[2], device=near.device, dtype=dtype)
        length = float(len(step))
        squares = chunk.matrix.square()
        squared_decay = chunk.since_start.square()
        carried = ((chunk.q @ near) * chunk.q).sum(-1) * squared_decay
        keys = chunk.k * chunk.until_end[..., None]
        decay = chunk.total.square()[..., None, None]
        if distance:
            carried_far = ((chunk.q @ far) * chunk.q).sum(-1) * squared_decay
            results.append((squares * (step[:, None] - step)).sum(-1) + carried_far + step * carried)
            far = decay * (far + length * near) + (keys * (length - step)[:, None]).mT @ keys
        else:
            results.append(squares.sum(-1) + carried)
        near = decay * near + keys.mT @ keys
    return torch.cat(results, dim=2).transpose(1, 2)
