"""Runs a form's maps over its values, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.triton.layout import strides
from workbench.kernels.triton.maps import Maps
from workbench.kernels.triton.recurrence import outer_products, read_outputs, run_states, times_states

Values = Float[Tensor, "batch time heads value"]
State = Float[Tensor, "batch heads key value"]
Starts = Float[Tensor, "batch chunks heads key value"]


def states(maps: Maps, values: Values, initial: State | None) -> tuple[State, Starts]:
    """The final state and the states at chunk starts, in float32."""
    return _states(maps, maps.keys, maps.key_scale, maps.probes, maps.erasers, values, initial, reverse=False)


def state_gradients(maps: Maps, d_outputs: Values, d_final: State | None) -> tuple[State, Starts]:
    """The gradients of the initial state, and of the states at chunk ends."""
    queries, scale = maps.queries, maps.query_scale
    return _states(maps, queries, scale, maps.erasers, maps.probes, d_outputs, d_final, reverse=True)


def _states(
    maps: Maps,
    keys: Tensor,
    scale: Tensor | None,
    probes: Tensor | None,
    erasers: Tensor | None,
    values: Values,
    initial: State | None,
    reverse: bool,
) -> tuple[State, Starts]:
    batch, time, heads, value = values.shape
    key, tiles = keys.shape[-1], maps.tiles
    starts = maps.matrix.new_empty(batch, maps.chunks, heads, key, value)
    final = maps.matrix.new_empty(batch, heads, key, value)
    run_states[batch * heads, triton.cdiv(value, tiles.value)](
        keys, scale, maps.total, probes, erasers, values, initial, starts, final,
        *strides(keys, heads), *values.stride()[:3], time, heads,
        KEY=key, BLOCK_KEY=tiles.key, VALUE=value, BLOCK_VALUE=tiles.value, STEPS=tiles.steps,
        TOTALS=maps.total.shape[-1], REVERSED=reverse, PRECISION=tiles.precision,
        num_warps=8, num_stages=2 if probes is None else 1,
    )  # fmt: skip
    return final, starts


def outputs(maps: Maps, values: Values, starts: Starts) -> Values:
    """The outputs, in the dtype of the values."""
    return _read(maps, maps.queries, maps.query_scale, values, starts, maps.matrix, values.dtype)


def value_gradients(maps: Maps, d_outputs: Values, ends: Starts, dtype: torch.dtype) -> Values:
    """The gradient of the values, from those of the outputs and of the states at chunk ends."""
    return _read(maps, maps.keys, maps.key_scale, d_outputs, ends, maps.matrix, dtype, transposed=True)


def _read(
    maps: Maps,
    queries: Tensor,
    scale: Tensor | None,
    values: Values,
    starts: Starts,
    matrix: Tensor | None,
    dtype: torch.dtype,
    transposed: bool = False,
) -> Values:
    batch, time, heads, value = values.shape
    tiles = maps.tiles
    result = torch.empty(values.shape, dtype=dtype, device=values.device)
    read_outputs[maps.chunks, batch * heads, triton.cdiv(value, tiles.value)](
        queries, scale, matrix, values, starts, result,
        *strides(queries, heads), *values.stride()[:3], time, heads,
        KEY=starts.shape[-2], VALUE=value, BLOCK_VALUE=tiles.value, PART=min(tiles.part, tiles.steps),
        STEPS=tiles.steps, TRANSPOSED=transposed, PRECISION=tiles.precision, num_warps=4, num_stages=2,
    )  # fmt: skip
    return result


@dataclass(frozen=True)
class MapGradients:
    """Gradients of the rows that the maps are made of, one entry a head; those of `matrix` in both triangles."""

    queries: Float[Tensor, "batch time heads key"]
    keys: Float[Tensor, "batch time heads key"]
    matrix: Float[Tensor, "batch time heads step"]
    total: Float[Tensor, "batch chunks heads key_or_one"]
    probes: Float[Tensor, "batch time heads key"] | None
    erasers: Float[Tensor, "batch time heads key"] | None


def map_gradients(maps: Maps, values: Values, d_outputs: Values, starts: Starts, ends: Starts) -> MapGradients:
    """From the states at chunk starts and the gradients of those at chunk ends."""
    batch, time, heads, value = values.shape
    tiles = maps.tiles
    matrix = torch.empty_like(maps.matrix)
    outer_products[maps.chunks, batch * heads](
        d_outputs, values, matrix, *d_outputs.stride()[:3], *values.stride()[:3], time, heads,
        VALUE=value, BLOCK_VALUE=min(tiles.value, 32), STEPS=tiles.steps, PRECISION=tiles.precision,
        num_warps=4, num_stages=2,
    )  # fmt: skip
    total = torch.linalg.vecdot(starts, ends)
    if maps.total.shape[-1] == 1:
        total = total.sum(-1, keepdim=True)
    probes = erasers = None
    if maps.probes is not None and maps.erasers is not None:
        found = _read(maps, maps.probes, None, values, starts, None, torch.float32)
        met = _read(maps, maps.erasers, None, values, ends, None, torch.float32)
        probes, erasers = _times(maps, met, starts, negative=True), _times(maps, found, ends, negative=True)
    queries, keys = _times(maps, d_outputs, starts), _times(maps, values, ends)
    return MapGradients(queries, keys, matrix, total, probes, erasers)


def _times(maps: Maps, values: Values, states: Starts, negative: bool = False) -> Tensor:
    batch, time, heads, value = values.shape
    key, tiles = states.shape[-2], maps.tiles
    block = min(tiles.key, 64)
    result = torch.empty(batch, time, heads, key, dtype=torch.float32, device=values.device)
    times_states[maps.chunks, batch * heads, triton.cdiv(key, block)](
        values, states, result, *values.stride()[:3], time, heads,
        KEY=key, BLOCK_KEY=block, VALUE=value, BLOCK_VALUE=min(tiles.value, 32), STEPS=tiles.steps,
        NEGATIVE=negative, PRECISION=tiles.precision, num_warps=4, num_stages=2,
    )  # fmt: skip
    return result
