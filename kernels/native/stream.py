"""Reductions of a matrix on a CPU, in compiled loops: tiles that never leave the cache.

``stream.cpp`` (decays and delta rules) and ``stream_softmax.cpp`` beside this file hold the loops and say how they
work, ``stream.h`` what is done with a tile.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.kernels.native import build

# Steps a block of sources. A delta rule carries queries over a block by a K x K product, so longer blocks pay.
BLOCK, DELTA_BLOCK = 64, 128
PARTS = 8  # tasks that share the rows of one matrix; columns and histograms are added up over them
_SCALAR, _DIAGONAL, _DELTA = range(3)


class _Recurrent(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in (
            "batch", "time", "heads", "key", "q_groups", "k_groups", "p_groups", "e_groups", "decay_width", "length",
            "kind",
        )),
        *((name, ctypes.c_void_p) for name in ("q", "k", "write", "log_decay", "rate", "probe", "erase", "reach")),
        ("tolerance", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("carried", "transitions")),
    ]  # fmt: skip


class _Softmax(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in (
            "batch", "time", "source", "heads", "groups", "key", "mask_batch", "mask_head", "bias_batch", "bias_head",
        )),
        ("scale", ctypes.c_float),
        ("softcap", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("q", "k", "bias", "sinks", "mask")),
    ]  # fmt: skip


_RESULTS = (
    "mass", "energy", "entropy", "mean_distance_by_mass", "mean_distance_by_energy", "missed", "top_values",
    "top_sources", "column_mass", "column_energy", "by_distance",
)  # fmt: skip


class _Results(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in _RESULTS), ("top", ctypes.c_int64)]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loops over recurrent forms, or None where they cannot be had."""
    found = build.library("stream")
    if found is not None:
        found.stream_recurrent.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int]
        found.stream_recurrent.restype = None
    return found


@cache
def softmax_library() -> ctypes.CDLL | None:
    """The compiled loops over softmax patterns, or None where they cannot be had."""
    found = build.library("stream_softmax")
    if found is not None:
        found.stream_softmax.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int]
        found.stream_softmax.restype = None
    return found


@dataclass(frozen=True)
class Operands:
    """What the loops read; float32, on the CPU.

    Attributes:
        log_decay: natural logs, at most 0; the last axis is 1 for one decay a head, which `rate` multiplies.
        one_decay: whether a query is scaled by what decays it, and nothing else.
        erases: whether there is a delta rule; `probe` and `erase` are None for `k` and ``write k``.
        reach: bound on the mass that a query of length 1 finds up to each step, or None.
    """

    q: Float[Tensor, "batch time query_groups key"]
    k: Float[Tensor, "batch time key_groups key"]
    log_decay: Float[Tensor, "batch time heads key_or_one"]
    write: Float[Tensor, "batch time heads"] | None = None
    rate: Float[Tensor, "heads key"] | None = None
    probe: Float[Tensor, "batch time probe_groups key"] | None = None
    erase: Float[Tensor, "batch time erase_groups key"] | None = None
    one_decay: bool = False
    erases: bool = False
    reach: Float[Tensor, "batch heads time"] | None = None


def recurrent(operands: Operands, wanted: Collection[str], top: int, tolerance: float) -> dict[str, Tensor]:
    """The wanted reductions by name: rows ``[batch, heads, time]``, columns and distances ``[batch, heads, source]``.

    Distances come as ``by_distance``, sums in float64. Call it only where `library` is there.

    Raises:
        ValueError: the groups do not divide the heads.
    """
    batch, time, heads, width = operands.log_decay.shape
    x = {
        name: _contiguous(getattr(operands, name))
        for name in ("q", "k", "write", "log_decay", "rate", "probe", "erase")
    }
    groups = {name: heads if x[name] is None else x[name].shape[2] for name in ("q", "k", "probe", "erase")}  # type: ignore[union-attr]
    if any(count == 0 or heads % count for count in groups.values()):
        raise ValueError(f"{heads} heads cannot share {sorted(groups.values())[0]} groups: the groups must divide them")
    key = operands.k.shape[-1]
    kind = _DELTA if operands.erases else _SCALAR if operands.one_decay else _DIAGONAL
    length = DELTA_BLOCK if operands.erases else BLOCK
    blocks = -(-time // length)
    carried = torch.empty(batch * heads * max(0, blocks) * length * key)
    transitions = torch.empty(batch * heads * blocks * {_SCALAR: 1, _DIAGONAL: key, _DELTA: key * key}[kind])
    reach = None
    if operands.reach is not None:
        ends = (torch.arange(1, blocks + 1) * length - 1).clamp(max=time - 1)
        reach = operands.reach[..., ends].double().contiguous()
    form = _Recurrent(
        batch, time, heads, key, groups["q"], groups["k"], groups["probe"], groups["erase"], width, length, kind,
        *(build.pointer(x[name]) for name in ("q", "k", "write", "log_decay", "rate", "probe", "erase")),
        build.pointer(reach), tolerance, build.pointer(carried), build.pointer(transitions),
    )  # fmt: skip
    found = library()
    assert found is not None
    results, pointers, parts = _results(batch, heads, time, time, wanted, top)
    found.stream_recurrent(ctypes.byref(form), ctypes.byref(pointers), parts, build.threads())
    return _summed(results)


def softmax(
    q: Float[Tensor, "batch time heads key"],
    k: Float[Tensor, "batch source groups key"],
    scale: float,
    mask: Bool[Tensor, "#batch #heads time source"] | None,
    bias: Float[Tensor, "#batch #heads time source"] | None,
    softcap: float | None,
    sinks: Float[Tensor, " heads"] | None,
    wanted: Collection[str],
    top: int,
) -> dict[str, Tensor]:
    """The wanted reductions of a softmax pattern, as `recurrent` returns them.

    Raises:
        ValueError: the groups do not divide the heads.
    """
    batch, time, heads, key = q.shape
    source, groups = k.shape[1:3]
    if groups == 0 or heads % groups:
        raise ValueError(f"{heads} heads cannot share {groups} groups: the groups must divide the heads")
    q, k, mask, bias, sinks = q.contiguous(), k.contiguous(), _contiguous(mask), _contiguous(bias), _contiguous(sinks)
    form = _Softmax(
        batch, time, source, heads, groups, key, *_shared_strides(mask), *_shared_strides(bias), scale, softcap or 0.0,
        *(build.pointer(x) for x in (q, k, bias, sinks, mask)),
    )  # fmt: skip
    found = softmax_library()
    assert found is not None
    results, pointers, parts = _results(batch, heads, time, source, wanted, top)
    found.stream_softmax(ctypes.byref(form), ctypes.byref(pointers), parts, build.threads())
    return _summed(results)


def _shared_strides(x: Tensor | None) -> tuple[int, int]:
    """Strides of batch and head, 0 where there is one for all."""
    return (0, 0) if x is None else tuple(x.stride(dim) if x.shape[dim] > 1 else 0 for dim in (0, 1))  # type: ignore[return-value]


def _contiguous(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _results(
    batch: int, heads: int, time: int, source: int, wanted: Collection[str], top: int
) -> tuple[dict[str, Tensor], _Results, int]:
    """Where the loops write, by name and as they are told, and over how many tasks columns are spread."""
    parts = max(1, min(PARTS, -(-time // 32)))
    found = {"mass": torch.empty(batch, heads, time), "missed": torch.empty(batch, heads, time)}
    for name in ("energy", "entropy", "mean_distance_by_mass", "mean_distance_by_energy"):
        if name in wanted:
            found[name] = torch.empty(batch, heads, time)
    if "top" in wanted:
        found["top_values"] = torch.empty(batch, heads, time, top)
        found["top_sources"] = torch.empty(batch, heads, time, top, dtype=torch.long)
    for name, asked in (("column_mass",) * 2, ("column_energy",) * 2, ("by_distance", "histogram")):
        if asked in wanted:
            found[name] = torch.zeros(batch, heads, parts, source, dtype=torch.float64)
    return found, _Results(*(build.pointer(found.get(name)) for name in _RESULTS), top), parts


def _summed(results: dict[str, Tensor]) -> dict[str, Tensor]:
    spread = ("column_mass", "column_energy", "by_distance")
    return {name: x.sum(2) if name in spread else x for name, x in results.items()}
