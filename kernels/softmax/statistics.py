"""Row and column statistics of softmax patterns, a block of queries at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Softmax
from workbench.kernels.softmax.pattern import pattern_blocks


def _by_row(form: Softmax, read: Callable[[Tensor, Tensor], Tensor]) -> Float[Tensor, "batch time heads"]:
    """Reduce each block's rows; `read` is given the weights and ``t - s`` for each of their entries."""
    time, source = form.q.shape[1], form.k.shape[1]
    positions = torch.arange(source, device=form.q.device)
    parts = []
    for span, weights in pattern_blocks(form):
        queries = positions[source - time :][span]
        distance = queries[:, None] - positions[: weights.shape[-1]]
        parts.append(read(weights, distance.to(weights.dtype)).transpose(1, 2))
    return torch.cat(parts, dim=1)


def row_sum(form: Softmax) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]``: 1, less a sink's share; 0 where a query may look nowhere."""
    return _by_row(form, lambda weights, distance: weights.sum(-1))


def row_energy(form: Softmax) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]^2``."""
    return _by_row(form, lambda weights, distance: weights.square().sum(-1))


def mass_distance(form: Softmax) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s] (t - s)``, in tokens."""
    return _by_row(form, lambda weights, distance: (weights * distance).sum(-1))


def energy_distance(form: Softmax) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]^2 (t - s)``, in tokens."""
    return _by_row(form, lambda weights, distance: (weights.square() * distance).sum(-1))


def column_sum(form: Softmax) -> Float[Tensor, "batch source heads"]:
    """``sum_t A[t, s]``: what a source is looked at in total."""
    batch, source = form.k.shape[:2]
    total: Tensor | None = None
    for _, weights in pattern_blocks(form):
        if total is None:
            total = weights.new_zeros(batch, form.heads, source)
        total = total + torch.nn.functional.pad(weights.sum(2), (0, source - weights.shape[-1]))
    assert total is not None
    return total.transpose(1, 2)
