"""Convolution with a finite filter: lag by lag where it is short, through the Fourier transform where it is long."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Toeplitz
from workbench.kernels.precision import compute_dtype, sum_dtype

# Lag by lag costs a pass over the values each; beyond this many the transform is faster.
SHORT = 32


def forward(
    form: Toeplitz, initial_state: Float[Tensor, "batch heads past value"] | None = None
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads past value"]]:
    """Outputs and final state, differentiable; the state is float32 (float64 for float64 operands)."""
    dtype = compute_dtype(form.v, form.kernel, initial_state)
    v, kernel = form.v.to(dtype), form.kernel.to(dtype)
    past = kernel.shape[1] - 1
    if initial_state is None:
        before = v.new_zeros(form.batch, past, *v.shape[2:])
    else:
        before = initial_state.to(dtype).transpose(1, 2).flip(1)
    values = torch.cat([before, v], dim=1)
    # The register as it is left: the latest value first.
    state = values[:, form.time :].flip(1).transpose(1, 2)
    if initial_state is None and past >= form.time:
        # Lags that reach nothing but the zeros before the sequence.
        kernel, values = kernel[:, : max(1, form.time)], values[:, past + 1 - max(1, form.time) :]
    outputs = _lag_by_lag(values, kernel, form.time) if kernel.shape[1] <= SHORT else _transformed(values, kernel)
    return outputs.to(form.v.dtype), state


def _lag_by_lag(
    values: Float[Tensor, "batch past_and_time heads value"], kernel: Float[Tensor, "heads lags"], time: int
) -> Float[Tensor, "batch time heads value"]:
    past = kernel.shape[1] - 1
    result = kernel[:, 0, None] * values[:, past:]
    for lag in range(1, past + 1):
        result = torch.addcmul(result, kernel[:, lag, None], values[:, past - lag : past - lag + time])
    return result


def _transformed(
    values: Float[Tensor, "batch past_and_time heads value"], kernel: Float[Tensor, "heads lags"]
) -> Float[Tensor, "batch time heads value"]:
    """The convolution as a product of spectra, in float64: its rounding is relative to the largest output."""
    total, past = values.shape[1], kernel.shape[1] - 1
    # What wraps around the end lands on the first `past` outputs, which are not asked for.
    length = 1 << (total - 1).bit_length()
    wide = sum_dtype(values.device)
    # Time comes last: up to twice as fast as a transform along a dimension with gaps.
    spectrum = torch.fft.rfft(values.to(wide).permute(0, 2, 3, 1), length)
    outputs: Tensor = torch.fft.irfft(spectrum * torch.fft.rfft(kernel.to(wide), length)[:, None], length)
    return outputs[..., past:total].permute(0, 3, 1, 2).to(values.dtype)
