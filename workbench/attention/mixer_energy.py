"""Row energies of a whole mixer with a diagonal-decay core, in time linear in the length.

With the convolution's tap for the input `j` steps back called ``lag[j]``, one channel's matrix is

    M[t, s] = sum_j lag[j] u[s + j] (gate[t] A[t, s + j] + skip[t] [t = s + j])        A[t, r] = q_t . (decay(t, r) k_r)

A source at least as old as the convolution is long has all its terms, and no skip reaches it: those sources form a
recurrence of the same kind as the core, whose key at step `t` belongs to source ``t - taps + 1`` and is

    k'_t = sum_j lag[j] u[t - taps + 1 + j] decay(t, t - taps + 1 + j) k[t - taps + 1 + j]

so its energy comes from the core's own scan. The few younger sources are summed one by one.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import kernels
from workbench.forms import DiagonalDecay, MixerForm
from workbench.kernels.blocking import blocks
from workbench.kernels.grouping import select_heads, spread
from workbench.kernels.precision import compute_dtype


def row_energy(form: MixerForm) -> Float[Tensor, "batch units time"]:
    """``sum_s M[t, s]^2`` for every channel of a mixer whose heads have one channel each, gate included.

    Raises:
        TypeError: the core is no diagonal decay, or has several channels a head.
    """
    core = form.core
    if not isinstance(core, DiagonalDecay) or core.v.shape[-1] != 1:
        raise TypeError("linear row energies of a mixer need a diagonal-decay core of one channel a head")
    batch, time, heads, _ = core.v.shape
    parts = []
    # A block of heads holds a few tensors of [batch, time, heads, key].
    for span in blocks(heads, 4 * batch * time * core.k.shape[-1]):
        parts.append(_block_energy(form, core, span))
    return torch.cat(parts, dim=2).transpose(1, 2)


def _block_energy(form: MixerForm, core: DiagonalDecay, span: slice) -> Float[Tensor, "batch time heads"]:
    """The same for some heads."""
    part = select_heads(core, range(span.start, span.stop))
    assert isinstance(part, DiagonalDecay)
    dtype = compute_dtype(part.q, part.k, part.log_decay, part.rate, part.write)
    heads = part.heads
    lags = torch.ones(heads, 1, dtype=dtype, device=part.v.device)
    if form.conv is not None:
        lags = form.conv[span, 0].flip(-1).to(dtype)
    taps = lags.shape[1]
    query = spread(part.q, heads, dim=2).to(dtype)
    key = spread(part.k, heads, dim=2).to(dtype)
    scale = None if form.source is None else form.source[:, :, span, 0].to(dtype)
    if part.write is not None:
        written = part.write.to(dtype)
        scaled = written if scale is None else written * scale
    else:
        scaled = torch.ones_like(part.v[..., 0], dtype=dtype) if scale is None else scale

    # entries[m] is A[t, t - m] u[t - m], which the young sources are made of; `oldest` collects k'.
    entries: list[Tensor] = []
    oldest = torch.zeros_like(key)
    between = torch.zeros_like(part.log_decay, dtype=dtype)
    for m in range(taps):
        if m > 0:
            between = between + _delayed(part.log_decay.to(dtype), m - 1)
        decay = (between if part.rate is None else between * part.rate.to(dtype)).exp()
        moved = _delayed(scaled[..., None] * key, m) * decay
        entries.append((query * moved).sum(-1))
        oldest = oldest + lags[:, taps - 1 - m, None] * moved
    # Where the source would lie before the sequence there is none.
    oldest[:, : taps - 1] = 0

    gate = torch.ones_like(entries[0]) if form.gate is None else form.gate[:, :, span, 0].to(dtype)
    skip = torch.zeros_like(gate) if form.skip is None else form.skip[:, :, span, 0].to(dtype)
    skip = skip if scale is None else skip * scale
    energy = torch.zeros_like(gate)
    for distance in range(taps):
        read = sum((lags[:, distance - m] * entries[m] for m in range(distance + 1)), torch.zeros_like(gate))
        young = gate * read + lags[:, distance] * skip
        young[:, :distance] = 0
        energy = energy + young.square()
    complete = replace(part, q=query, k=oldest, write=None)
    without_skip = (query * oldest).sum(-1)
    return energy + gate.square() * (kernels.row_energy(complete) - without_skip.square()).clamp(min=0)


def _delayed(x: Float[Tensor, "batch time *rest"], steps: int) -> Float[Tensor, "batch time *rest"]:
    """Every step sees the value `steps` before it; 0 before the sequence."""
    if steps == 0:
        return x
    out = torch.zeros_like(x)
    out[:, steps:] = x[:, :-steps]
    return out
