"""Mamba-2's state-space duality: the scalar-decay recurrence computed in chunks, as matrix products."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def chunked_scalar_decay(
    x: Float[Tensor, "batch time head value"],
    log_decay: Float[Tensor, "batch time head"],
    b: Float[Tensor, "batch time state"],
    c: Float[Tensor, "batch time state"],
    initial_state: Float[Tensor, "batch head value state"] | None = None,
    chunk: int = 64,
) -> tuple[Float[Tensor, "batch time head value"], Float[Tensor, "batch head value state"]]:
    """``h_t = exp(log_decay_t) h_{t-1} + x_t b_t'`` and ``y_t = h_t c_t``, with b and c shared by the heads.

    Algorithm of Dao and Gu 2024 (arXiv:2405.21060, section 6): inside a chunk a masked matrix product, between
    chunks a recurrence over states. Running sums of the log decay (natural log, at most 0) stay inside a chunk, and
    the mask is applied before the exponential, so nothing overflows. float32 in, float32 out.
    """
    batch, time, heads, values = x.shape
    chunk = min(chunk, max(time, 1))
    short = -time % chunk
    if short:
        x, b, c = F.pad(x, (0, 0, 0, 0, 0, short)), F.pad(b, (0, 0, 0, short)), F.pad(c, (0, 0, 0, short))
        log_decay = F.pad(log_decay, (0, 0, 0, short))
    count = (time + short) // chunk
    x = x.view(batch, count, chunk, heads, values).transpose(2, 3)
    running = log_decay.view(batch, count, chunk, heads).transpose(2, 3).cumsum(-1)
    b, c = b.view(batch, count, 1, chunk, -1), c.view(batch, count, 1, chunk, -1)

    future = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).triu(1)
    between = (running[..., :, None] - running[..., None, :]).masked_fill(future, float("-inf"))
    inside = (between.exp() * (c @ b.mT)) @ x

    contributed = (x * (running[..., -1:] - running).exp()[..., None]).mT @ b
    whole = running[..., -1].exp()[..., None, None]
    state = x.new_zeros(batch, heads, values, b.shape[-1]) if initial_state is None else initial_state
    starts = []
    for k in range(count):
        starts.append(state)
        state = whole[:, k] * state + contributed[:, k]
    carried = (c @ torch.stack(starts, 1).mT) * running.exp()[..., None]

    y = (inside + carried).transpose(2, 3).reshape(batch, count * chunk, heads, values)
    return y[:, :time], state
