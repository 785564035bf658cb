"""Entries of softmax patterns: listed pairs, rows, columns and tiles, without the whole matrix."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.kernels.blocking import blocks
from workbench.kernels.forms import Softmax
from workbench.kernels.softmax.pattern import pattern, pattern_blocks, take_queries


def rows(form: Softmax, query: Int[Tensor, "#batch queries"]) -> Float[Tensor, "batch heads queries source"]:
    """The listed rows of A."""
    return pattern(take_queries(form, query))


def columns(form: Softmax, key: Int[Tensor, "#batch keys"]) -> Float[Tensor, "batch heads time keys"]:
    """The listed columns of A."""
    batch = form.q.shape[0]
    parts = []
    for _, weights in pattern_blocks(form):
        missing = form.k.shape[1] - weights.shape[-1]
        weights = torch.nn.functional.pad(weights, (0, missing))
        chosen = key.expand(batch, -1)[:, None, None].expand(*weights.shape[:3], -1)
        parts.append(weights.gather(-1, chosen))
    return torch.cat(parts, dim=2)


def pairs(
    form: Softmax, query: Int[Tensor, "#batch pairs"], key: Int[Tensor, "#batch pairs"]
) -> Float[Tensor, "batch heads pairs"]:
    """A at the listed places; a whole row is normalised for each, a block of rows at a time."""
    batch, source = form.q.shape[0], form.k.shape[1]
    query, key = query.expand(batch, -1), key.expand(batch, -1)
    parts = []
    for span in blocks(query.shape[1], batch * form.heads * source):
        weights = pattern(take_queries(form, query[:, span]))
        chosen = key[:, None, span, None].expand(*weights.shape[:3], 1)
        parts.append(weights.gather(-1, chosen)[..., 0])
    return torch.cat(parts, dim=2)
