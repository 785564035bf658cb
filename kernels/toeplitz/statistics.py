"""What can be read from a Toeplitz matrix: row `t` holds the first ``t + 1`` weights, so sums run over the lags."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Toeplitz
from workbench.kernels.precision import compute_dtype, sum_dtype


def row_sum(form: Toeplitz) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]``."""
    return _running(form, form.kernel)


def column_sum(form: Toeplitz) -> Float[Tensor, "batch time heads"]:
    """``sum_t A[t, s]``: a source is read by as many steps as follow it."""
    return row_sum(form).flip(1)


def row_energy(form: Toeplitz) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]^2``."""
    return _running(form, _wide(form).square())


def energy_distance(form: Toeplitz) -> Float[Tensor, "batch time heads"]:
    """``sum_s A[t, s]^2 (t - s)``, in tokens."""
    weights = _wide(form)
    lags = torch.arange(weights.shape[1], device=weights.device, dtype=weights.dtype)
    return _running(form, weights.square() * lags)


def _wide(form: Toeplitz) -> Float[Tensor, "heads lags"]:
    return form.kernel.to(sum_dtype(form.kernel.device))


def _running(form: Toeplitz, weights: Float[Tensor, "heads lags"]) -> Float[Tensor, "batch time heads"]:
    """The sum over the lags that each row reaches."""
    sums = weights.to(sum_dtype(weights.device)).cumsum(1).to(compute_dtype(form.kernel))
    reached = torch.arange(form.time, device=sums.device).clamp(max=sums.shape[1] - 1)
    return sums[:, reached].T.expand(form.batch, -1, -1)
