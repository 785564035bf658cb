"""The short causal depthwise convolution of recurrent mixers on a CPU, in fused C++ (`convolution.cpp` beside this).

``c_t = bias + sum_j weight_j x_{t - (taps - 1) + j}`` a channel, with ``silu(c)`` in the same pass where it is asked
for: the convolution before the recurrence of Mamba (Gu and Dao 2023, arXiv:2312.00752, section 3.4) and its successors.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from workbench.kernels.native import build


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None where they cannot be had."""
    found = build.library("convolution")
    if found is not None:
        sizes: list[Any] = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
        found.convolution_forward.argtypes = sizes + [ctypes.c_void_p] * 5
        found.convolution_forward.restype = None
        found.convolution_backward.argtypes = sizes + [ctypes.c_void_p] * 9
        found.convolution_backward.restype = None
    return found


def fits(*operands: Tensor | None) -> bool:
    """Whether `causal_convolution` takes these operands here; compiles it on first use."""
    narrow = all(x is None or (x.dtype == torch.float32 and x.device.type == "cpu") for x in operands)
    return narrow and library() is not None


def causal_convolution(
    x: Float[Tensor, "batch time channel"],
    weight: Float[Tensor, "channel taps"],
    bias: Float[Tensor, " channel"] | None = None,
    past: Float[Tensor, "batch before channel"] | None = None,
    silu: bool = False,
) -> Float[Tensor, "batch time channel"]:
    """Convolve each channel with its own taps, the last of which multiplies the current token; differentiable.

    Args:
        x: read where it lies, whatever its strides over batch and time.
        past: what came before the first step, the latest last; zeros where it is shorter than ``taps - 1``, and what
            lies further back than that is not read.
        silu: return ``c sigmoid(c)`` instead of ``c``.

    Raises:
        ValueError: an operand is not float32 on a CPU.
        RuntimeError: there are no compiled loops here (`library` returns None), or shapes do not fit.
    """
    if any(t is not None and (t.dtype != torch.float32 or t.device.type != "cpu") for t in (x, weight, bias, past)):
        raise ValueError("the fused convolution takes float32 tensors on a CPU")
    channels, taps = weight.shape
    x = x.expand(*x.shape[:2], channels)
    x = x if x.stride(-1) == 1 or channels == 1 else x.contiguous()
    past = x[:, :0] if past is None else past[:, max(0, past.shape[1] - (taps - 1)) :]
    past = past.expand(x.shape[0], past.shape[1], channels).contiguous()
    bias = None if bias is None else bias.expand(channels).contiguous()
    y: Tensor = _Convolution.apply(x, weight.contiguous(), bias, past, silu)  # type: ignore[no-untyped-call]  # torch's
    return y


class _Convolution(torch.autograd.Function):
    """Binds the compiled loops; the backward pass computes the convolution again for the slope of the activation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor, silu: bool) -> Tensor:
        numbers = (*x.shape, weight.shape[1], past.shape[1], *x.stride()[:2])
        ctx.sizes = (ctypes.c_int64 * len(numbers))(*numbers)
        ctx.silu = silu
        ctx.save_for_backward(x, past, weight, bias)
        y = x.new_empty(x.shape)
        pointers = (build.pointer(t) for t in (x, past, weight, bias, y))
        _built().convolution_forward(ctx.sizes, build.threads(), silu, *pointers)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, past, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of the gradients is wanted
            return _differentiable(x, past, weight, bias, ctx.silu, grad, ctx.needs_input_grad)
        batch, _, channels = x.shape
        grad_x, grad_past = x.new_empty(x.shape), torch.empty_like(past)
        grad_taps, grad_bias = x.new_empty(batch, weight.shape[1], channels), x.new_empty(batch, channels)
        tensors = (x, past, weight, bias, grad.contiguous(), grad_x, grad_past, grad_taps, grad_bias)
        _built().convolution_backward(ctx.sizes, build.threads(), ctx.silu, *(build.pointer(t) for t in tensors))
        grad_weight = grad_taps.sum(0).flip(0).T  # the loops count lags, of which the last tap is the first
        return grad_x, grad_weight, None if bias is None else grad_bias.sum(0), grad_past, None


def _differentiable(
    x: Tensor, past: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, grad: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """The gradients as operations that autograd can follow."""
    padded = F.pad(torch.cat([past, x], dim=1), (0, 0, weight.shape[1] - 1 - past.shape[1], 0)).mT
    y = F.conv1d(padded, weight[:, None], bias, groups=weight.shape[0]).mT
    y = F.silu(y) if silu else y
    wanted = [t if t is not None and t.requires_grad else None for t in (x, weight, bias, past)]
    found = iter(torch.autograd.grad(y, [t for t in wanted if t is not None], grad, create_graph=True))
    return *(None if t is None or not need else next(found) for t, need in zip(wanted, needed, strict=False)), None


def _built() -> ctypes.CDLL:
    """The compiled library.

    Raises:
        RuntimeError: it cannot be had here.
    """
    found = library()
    if found is None:
        raise RuntimeError("the fused convolution was not compiled here")
    return found
