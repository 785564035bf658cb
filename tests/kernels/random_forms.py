"""Random forms of every kind, small and awkward: no dimension is a power of two, and groups are shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from workbench.kernels import Delta, DiagonalDecay, Form, RecurrentForm, ScalarDecay, Softmax, Toeplitz

BATCH, HEADS, GROUPS, KEY, VALUE = 2, 6, 3, 5, 3


def normal(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).to(dtype)


def log_decays(*shape: int, dtype: torch.dtype, mean: float = 1.0) -> Tensor:
    """Decays from hardly any to strong, so that a chunk's sum runs far beyond what exp can hold."""
    return (-mean * torch.rand(*shape, dtype=torch.float64).exp2().sub(1).square() * 4).to(dtype)


def scalar_decay(
    time: int, dtype: torch.dtype = torch.float64, groups: int = GROUPS, write: bool = True, mean: float = 1.0
) -> ScalarDecay:
    return ScalarDecay(
        q=normal(BATCH, time, groups, KEY, dtype=dtype),
        k=normal(BATCH, time, groups, KEY, dtype=dtype),
        v=normal(BATCH, time, HEADS, VALUE, dtype=dtype),
        log_decay=log_decays(BATCH, time, HEADS, dtype=dtype, mean=mean),
        write=normal(BATCH, time, HEADS, dtype=dtype) if write else None,
    )


def diagonal_decay(
    time: int,
    dtype: torch.dtype = torch.float64,
    groups: int = GROUPS,
    write: bool = True,
    mean: float = 1.0,
    value: int = VALUE,
) -> DiagonalDecay:
    return DiagonalDecay(
        q=normal(BATCH, time, groups, KEY, dtype=dtype),
        k=normal(BATCH, time, groups, KEY, dtype=dtype),
        v=normal(BATCH, time, HEADS, value, dtype=dtype),
        log_decay=log_decays(BATCH, time, HEADS, KEY, dtype=dtype, mean=mean),
        write=normal(BATCH, time, HEADS, dtype=dtype) if write else None,
    )


def mamba(time: int, dtype: torch.dtype = torch.float64, mean: float = 1.0, state: int = KEY) -> DiagonalDecay:
    """Mamba-1's layout: one head a channel, one group, the decay a time step times a rate, written with that step."""
    dt = -log_decays(BATCH, time, HEADS, 1, dtype=dtype, mean=mean)
    return DiagonalDecay(
        q=normal(BATCH, time, 1, state, dtype=dtype),
        k=normal(BATCH, time, 1, state, dtype=dtype),
        v=normal(BATCH, time, HEADS, 1, dtype=dtype),
        log_decay=-dt,
        rate=torch.rand(HEADS, state, dtype=torch.float64).mul(4).to(dtype),
        write=dt[..., 0],
    )


def cells(time: int, dtype: torch.dtype = torch.float64, mean: float = 1.0) -> DiagonalDecay:
    """Cells that hold one number each: RG-LRU, RWKV-4, an LSTM with its gates held fixed."""
    return DiagonalDecay(
        q=normal(BATCH, time, HEADS, 1, dtype=dtype),
        k=normal(BATCH, time, HEADS, 1, dtype=dtype),
        v=normal(BATCH, time, HEADS, 1, dtype=dtype),
        log_decay=log_decays(BATCH, time, HEADS, 1, dtype=dtype, mean=mean),
        write=normal(BATCH, time, HEADS, dtype=dtype),
    )


def delta_rule(
    time: int, dtype: torch.dtype = torch.float64, groups: int = GROUPS, mean: float = 1.0, scalar: bool = False
) -> Delta:
    """Keys of length one and a write below 2, so that no step grows the state."""
    k = torch.nn.functional.normalize(normal(BATCH, time, groups, KEY, dtype=torch.float64), dim=-1)
    return Delta(
        q=normal(BATCH, time, groups, KEY, dtype=dtype),
        k=k.to(dtype),
        v=normal(BATCH, time, HEADS, VALUE, dtype=dtype),
        log_decay=log_decays(BATCH, time, HEADS, 1 if scalar else KEY, dtype=dtype, mean=mean),
        write=torch.rand(BATCH, time, HEADS, dtype=torch.float64).mul(2).to(dtype),
    )


def delta_apart(time: int, dtype: torch.dtype = torch.float64, mean: float = 1.0) -> Delta:
    """RWKV-7's kind: it erases along one direction, of which it writes another."""
    form = delta_rule(time, dtype, mean=mean)
    probe = torch.nn.functional.normalize(normal(BATCH, time, HEADS, KEY, dtype=torch.float64), dim=-1).to(dtype)
    erase = probe * torch.rand(BATCH, time, HEADS, KEY, dtype=torch.float64).to(dtype)
    return replace(form, k=normal(BATCH, time, GROUPS, KEY, dtype=dtype), probe=probe, erase=erase)


def toeplitz(time: int, dtype: torch.dtype = torch.float64, lags: int = 4, mean: float = 1.0) -> Toeplitz:
    """A filter whose weights shrink with the lag; `mean` is how fast."""
    weights = normal(HEADS, lags, dtype=torch.float64) * torch.exp(-0.1 * mean * torch.arange(lags))
    return Toeplitz(normal(BATCH, time, HEADS, VALUE, dtype=dtype), weights.to(dtype))


def reading(
    make: Callable[..., ScalarDecay | DiagonalDecay | Delta], exclusive: bool
) -> Callable[..., ScalarDecay | DiagonalDecay | Delta]:
    """The same with a normaliser of its own for every row, and a diagonal for an exclusive reader."""

    def made(time: int, dtype: torch.dtype = torch.float64, **how: object) -> ScalarDecay | DiagonalDecay | Delta:
        form = make(time, dtype, **how)
        read = torch.rand(BATCH, time, HEADS, dtype=torch.float64).add(0.5).to(dtype)
        return replace(form, read=read, diagonal=normal(BATCH, time, HEADS, dtype=dtype) if exclusive else None)

    return made


def softmax(time: int, dtype: torch.dtype = torch.float64, source: int | None = None) -> Softmax:
    source = time if source is None else source
    return Softmax(
        q=normal(BATCH, time, HEADS, KEY, dtype=dtype),
        k=normal(BATCH, source, GROUPS, KEY, dtype=dtype),
        v=normal(BATCH, source, GROUPS, VALUE, dtype=dtype),
        scale=0.7,
    )


def softmax_with_everything(time: int, dtype: torch.dtype = torch.float64, source: int | None = None) -> Softmax:
    """Left padding (rows that may look nowhere), a sliding window, a bias, a soft cap and sinks."""
    plain = softmax(time, dtype, source)
    source = plain.k.shape[1]
    query, key = torch.arange(source - time, source)[:, None], torch.arange(source)
    window = (key <= query) & (key > query - 9)
    padding = torch.tensor([0, source - time + time // 3])[:, None, None, None]
    return Softmax(
        plain.q,
        plain.k,
        plain.v,
        plain.scale,
        mask=window & (key >= padding),
        bias=normal(1, HEADS, time, source, dtype=dtype),
        softcap=1.5,
        sinks=normal(HEADS, dtype=dtype),
    )


def _wide(time: int, dtype: torch.dtype = torch.float64, **how: float) -> DiagonalDecay:
    return diagonal_decay(time, dtype, value=11, **how)  # type: ignore[arg-type]


def _long(time: int, dtype: torch.dtype = torch.float64, mean: float = 1.0) -> Toeplitz:
    return toeplitz(time, dtype, lags=67, mean=mean)


# Forms whose reading may be exclusive; `mean` and `groups` are arguments of all of them.
GROUPED: dict[str, Callable[..., ScalarDecay | DiagonalDecay | Delta]] = {
    "scalar decay": scalar_decay,
    "diagonal decay": diagonal_decay,
    "diagonal decay, wide values": _wide,
    "delta": delta_rule,
}
RECURRENT: dict[str, Callable[..., RecurrentForm]] = {
    **GROUPED,
    "scalar decay, exclusive": reading(scalar_decay, exclusive=True),
    "diagonal decay, normalised": reading(diagonal_decay, exclusive=False),
    "diagonal decay, exclusive, wide values": reading(_wide, exclusive=True),
    "mamba": mamba,
    "cells": cells,
    "cells, exclusive": reading(cells, exclusive=True),
    "delta, erasing apart": delta_apart,
    "delta, exclusive": reading(delta_rule, exclusive=True),
    "toeplitz": toeplitz,
    "toeplitz, long": _long,
}
ALL: dict[str, Callable[..., Form]] = {
    **RECURRENT,
    "softmax": softmax,
    "softmax with everything": softmax_with_everything,
}

_Recurrent = TypeVar("_Recurrent", ScalarDecay, DiagonalDecay, Delta, Toeplitz, RecurrentForm)


def cut(form: _Recurrent, span: slice) -> _Recurrent:
    """Some steps of a form: every operand that has a batch and a time."""
    operands = {field.name: getattr(form, field.name) for field in fields(form)}
    return replace(form, **{name: x[:, span] for name, x in operands.items() if x is not None and x.ndim > 2})


def states(form: RecurrentForm) -> Tensor:
    """A random state for the form."""
    width = form.kernel.shape[1] - 1 if isinstance(form, Toeplitz) else form.k.shape[-1]
    return normal(form.batch, form.heads, width, form.v.shape[-1], dtype=torch.float64)


def operands(form: Form) -> dict[str, Tensor]:
    """Every tensor of numbers in a form."""
    found = {field.name: getattr(form, field.name) for field in fields(form)}
    return {name: x for name, x in found.items() if isinstance(x, Tensor) and x.is_floating_point()}


def relative_error(got: Tensor, expected: Tensor) -> float:
    """Largest deviation over largest expected magnitude; 0 where both are empty or zero."""
    assert got.shape == expected.shape
    if expected.numel() == 0:
        return 0.0
    got, expected = got.detach().double(), expected.detach().double()
    scale = expected.abs().max()
    worst = (got - expected).abs().max()
    return float(worst if scale == 0 else worst / scale)
