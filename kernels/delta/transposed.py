"""The delta rule whose matrix is A transposed, with time running backwards."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from workbench.kernels.delta.chunked import form_dtype
from workbench.kernels.forms import Delta
from workbench.kernels.grouping import spread
from workbench.kernels.precision import step_factor


def transposed(form: Delta) -> Delta:
    """An exclusive reader whose row ``T - 1 - s`` is column `s` of A, but for `write`, which is left out.

    What all later queries have become when they reach step s is ``z_s = q_s + D_{s+1} y_{s+1}`` with
    ``y_s = (I - p_s e_s') z_s``. So `y` is the state of a delta rule in which probe and erase have changed places. It
    decays by the step after its own and is read before that decay, by ``D_{s+1} k_s``; the diagonal is ``k_s' q_s``.
    """
    dtype = form_dtype(form)

    def wide(x: Tensor) -> Tensor:
        return spread(x, form.heads, dim=2).to(dtype)

    q, k = wide(form.q), wide(form.k)
    probe = k if form.probe is None else wide(form.probe)
    if form.erase is not None:
        erase = wide(form.erase)
    else:
        erase = k if form.write is None else k * form.write.to(dtype)[..., None]
    after = torch.cat([form.log_decay[:, 1:], torch.zeros_like(form.log_decay[:, :1])], dim=1)
    return replace(
        form,
        q=(k * step_factor(after.to(dtype))).flip(1),
        k=(q - probe * (erase * q).sum(-1, keepdim=True)).flip(1),
        v=form.v.flip(1),
        log_decay=after.flip(1),
        probe=erase.flip(1),
        erase=probe.flip(1),
        write=None,
        diagonal=(q * k).sum(-1).flip(1),
    )
