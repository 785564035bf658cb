"""Random forms of every kind, small and awkward: no dimension is a power of two, and groups are shared."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.kernels import DiagonalDecay, ScalarDecay, Softmax

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


RECURRENT = {
    "scalar decay": scalar_decay,
    "diagonal decay": diagonal_decay,
    "diagonal decay, wide values": lambda time, dtype=torch.float64, **how: diagonal_decay(
        time, dtype, value=11, **how
    ),
    "mamba": mamba,
}
ALL = {**RECURRENT, "softmax": softmax, "softmax with everything": softmax_with_everything}


def relative_error(got: Tensor, expected: Tensor) -> float:
    """Largest deviation over largest expected magnitude; 0 where both are empty or zero."""
    assert got.shape == expected.shape
    if expected.numel() == 0:
        return 0.0
    got, expected = got.detach().double(), expected.detach().double()
    scale = expected.abs().max()
    worst = (got - expected).abs().max()
    return float(worst if scale == 0 else worst / scale)
