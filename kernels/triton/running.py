"""Runs a form's maps over its values."""

from __future__ import annotations

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.triton.layout import strides
from workbench.kernels.triton.maps import Maps
from workbench.kernels.triton.recurrence import read_outputs, run_states

State = Float[Tensor, "batch heads key value"]
Starts = Float[Tensor, "batch chunks heads key value"]


def run(
    maps: Maps, values: Float[Tensor, "batch time heads value"], initial: State | None
) -> tuple[Float[Tensor, "batch time heads value"], State, Starts]:
    """Outputs in the dtype of the values, the final state and the states at chunk starts, in float32."""
    batch, time, heads, value = values.shape
    key, tiles = maps.keys.shape[-1], maps.tiles
    starts = maps.matrix.new_empty(batch, maps.chunks, heads, key, value)
    final = maps.matrix.new_empty(batch, heads, key, value)
    sizes = {
        "KEY": key, "BLOCK_KEY": tiles.key, "VALUE": value, "BLOCK_VALUE": tiles.value, "STEPS": tiles.steps,
        "PRECISION": tiles.precision,
    }  # fmt: skip
    parts = triton.cdiv(value, tiles.value)
    run_states[batch * heads, parts](
        maps.keys, maps.key_scale, maps.total, maps.probes, maps.erasers, values, initial, starts, final,
        *strides(maps.keys, heads), *values.stride()[:3], time, heads, TOTALS=maps.total.shape[-1],
        num_warps=8, num_stages=2, **sizes,
    )  # fmt: skip
    outputs = torch.empty(values.shape, dtype=values.dtype, device=values.device)
    read_outputs[maps.chunks, batch * heads, parts](
        maps.queries, maps.query_scale, maps.matrix, values, starts, outputs,
        *strides(maps.queries, heads), *values.stride()[:3], time, heads, num_warps=8, num_stages=2, **sizes,
    )  # fmt: skip
    return outputs, final, starts
