"""Runs diagonal decay with one value a head through the kernels in `narrow`; it has no gradients."""

from __future__ import annotations

from typing import TypeGuard

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import DiagonalDecay, Reader
from workbench.kernels.triton.layout import on_device_of, rows, strides
from workbench.kernels.triton.narrow import join_chunks, scan_chunks

_STEPS = 64
_LARGEST_KEY = 64
_STATES = 512  # numbers of a program's states
_BLOCK = 256

State = Float[Tensor, "batch heads key value"]
Starts = Float[Tensor, "batch chunks heads key value"]


def fits(form: Reader, initial_state: Tensor | None) -> TypeGuard[DiagonalDecay]:
    """Whether the form has one value a head and a short key, and nobody asks for a gradient."""
    if not isinstance(form, DiagonalDecay) or form.v.shape[-1] != 1 or form.k.shape[-1] > _LARGEST_KEY:
        return False
    operands = [x for x in (*vars(form).values(), initial_state) if isinstance(x, Tensor)]
    return not (torch.is_grad_enabled() and any(x.requires_grad for x in operands))


def forward(
    form: DiagonalDecay, initial_state: State | None = None
) -> tuple[Float[Tensor, "batch time heads value"], State, Starts]:
    """Outputs in the dtype of `v`, the final state and the states at chunk starts, both in float32."""
    batch, time, heads, _ = form.v.shape
    key, chunks = form.k.shape[-1], triton.cdiv(time, _STEPS)
    decay = form.log_decay
    if form.rate is None and decay.shape[-1] != key:
        decay = decay.expand(batch, time, heads, key)
    ends, totals, starts = (form.v.new_empty(batch, chunks, heads, key, dtype=torch.float32) for _ in range(3))
    final = ends.new_empty(batch, heads, key)
    outputs = torch.empty(batch, time, heads, dtype=form.v.dtype, device=form.v.device)
    q, k, v = rows(form.q), rows(form.k), form.v[..., 0]
    write = None if form.write is None else form.write.contiguous()
    rate = None if form.rate is None else form.rate.contiguous()
    initial = None if initial_state is None else initial_state.to(torch.float32).contiguous()
    block = 1 << (key - 1).bit_length()
    grid = (chunks, batch, triton.cdiv(heads, _STATES // block))
    operands = (q, k, v, decay.contiguous(), rate, write)
    sizes = (*strides(q, heads), *strides(k, heads), *v.stride(), time, heads)
    constants = {
        "KEY": key, "BLOCK_KEY": block, "CHANNELS": _STATES // block, "STEPS": _STEPS, "RATED": rate is not None,
        "num_warps": 2, "num_stages": 1,
    }  # fmt: skip
    with on_device_of(v):
        scan_chunks[grid](*operands, None, ends, totals, None, *sizes, **constants)
        join_chunks[batch, triton.cdiv(heads * key, _BLOCK)](
            ends, totals, initial, starts, final, chunks, heads * key, BLOCK=_BLOCK, num_warps=4, num_stages=1
        )
        scan_chunks[grid](*operands, starts, None, None, outputs, *sizes, **constants)
    return outputs[..., None], final[..., None], starts[..., None]
