"""Entries of a Toeplitz matrix: the filter's weight of the lag, 0 for the future and beyond the last lag."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.kernels.forms import Toeplitz
from workbench.kernels.precision import compute_dtype


def _at(form: Toeplitz, lag: Int[Tensor, "#batch *places"]) -> Float[Tensor, "batch heads *places"]:
    kernel = form.kernel.to(compute_dtype(form.kernel))
    weight = kernel[:, lag.clamp(0, kernel.shape[1] - 1)].transpose(0, 1)
    outside = (lag < 0) | (lag >= kernel.shape[1])
    weight = weight.masked_fill(outside[:, None], 0)
    return weight.expand(form.batch, *weight.shape[1:])


def pairs(
    form: Toeplitz, query: Int[Tensor, "#batch pairs"], key: Int[Tensor, "#batch pairs"]
) -> Float[Tensor, "batch heads pairs"]:
    """A at the listed places; 0 where the key comes after the query."""
    return _at(form, query - key)


def rows(form: Toeplitz, query: Int[Tensor, "#batch queries"]) -> Float[Tensor, "batch heads queries source"]:
    """The listed rows of A."""
    return _at(form, query[..., None] - torch.arange(form.source, device=query.device))


def columns(form: Toeplitz, key: Int[Tensor, "#batch keys"]) -> Float[Tensor, "batch heads time keys"]:
    """The listed columns of A."""
    return _at(form, torch.arange(form.time, device=key.device)[:, None] - key[:, None])
