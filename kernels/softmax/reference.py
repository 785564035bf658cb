"""Softmax attention, written out: the oracle."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Softmax
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype


def pattern(form: Softmax) -> Float[Tensor, "batch heads time source"]:
    """The attention pattern; a row that may look nowhere is zero, and a sink's share of a row is left out."""
    dtype = compute_dtype(form.q, form.k, form.v, form.bias)
    time, source = form.q.shape[1], form.k.shape[1]
    q = form.q.to(dtype).transpose(1, 2)
    k = spread(form.k, form.heads, dim=2).to(dtype).transpose(1, 2)

    scores = form.scale * (q @ k.mT)
    if form.softcap is not None:
        scores = form.softcap * torch.tanh(scores / form.softcap)
    if form.bias is not None:
        scores = scores + form.bias.to(dtype)
    causal = torch.ones(time, source, dtype=torch.bool, device=q.device).tril(source - time)
    allowed = (causal if form.mask is None else form.mask) & (scores > -torch.inf)
    # The lowest finite number instead of -inf: it keeps the gradient of a row that may look nowhere free of NaN.
    scores = scores.masked_fill(~allowed, torch.finfo(dtype).min)
    if form.sinks is not None:
        sinks = form.sinks.to(dtype)[None, :, None, None].expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = torch.softmax(scores, dim=-1)[..., :source]
    return torch.where(allowed, weights, torch.zeros_like(weights))


def forward(form: Softmax) -> tuple[Float[Tensor, "batch time heads value"], None]:
    """Outputs; attention over keys has no state."""
    weights = pattern(form)
    v = spread(form.v, form.heads, dim=2).to(weights.dtype).transpose(1, 2)
    return (weights @ v).transpose(1, 2).to(form.v.dtype), None
