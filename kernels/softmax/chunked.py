"""Softmax attention a block of queries at a time; torch's fused attention where it can express the form."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from workbench.kernels.forms import Softmax
from workbench.kernels.softmax.pattern import apply_pattern, pattern_blocks


def forward(form: Softmax) -> tuple[Float[Tensor, "batch time heads value"], None]:
    """Outputs, differentiable; attention over keys has no state. A query that may look nowhere gives zeros."""
    if form.softcap is None and form.sinks is None:
        return _fused(form), None
    outputs = [apply_pattern(weights, form.v[:, : weights.shape[-1]]) for _, weights in pattern_blocks(form)]
    return torch.cat(outputs, dim=1), None


def _fused(form: Softmax) -> Float[Tensor, "batch time heads value"]:
    time, source = form.q.shape[1], form.k.shape[1]
    heads, groups = form.heads, form.k.shape[2]
    if heads % groups:
        raise ValueError(f"{heads} heads cannot share {groups} groups: the groups must divide the heads")
    q, k, v = (x.transpose(1, 2) for x in (form.q, form.k, form.v))
    mask: Tensor | None = form.mask
    causal = mask is None and form.bias is None and time == source
    if not causal:
        if mask is None:
            mask = torch.ones(time, source, dtype=torch.bool, device=q.device).tril(source - time)
        if form.bias is not None:
            mask = form.bias.to(q.dtype).masked_fill(~mask, -torch.inf)
    attended = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, scale=form.scale, enable_gqa=groups != heads
    )
    return attended.transpose(1, 2)
