"""A whole mixer around a recurrent core, as a recurrent form of one channel a head and a band beside the diagonal.

With the convolution's tap for the input `j` steps back called ``lag[j]`` (one tap of 1 where there is no convolution),
one channel's matrix is

    M[t, s] = sum_j lag[j] u[s + j] (gate[t] A[t, s + j] + skip[t] [t = s + j])
    A[t, r] = q_t' (M_t .. M_{r+1}) k_r

A source at least as old as the convolution is long has all its terms, and no skip reaches it. Those sources form a
recurrence with the core's own transitions, whose key at step `t` belongs to source ``t - shift``:

    k'_t = sum_j lag[j] u[t - shift + j] (M_t .. M_{t-shift+j+1}) k_{t-shift+j}        shift = the number of taps

So whatever can be read of a recurrent form can be read of the mixer: in linear time what is linear there, in tiles that
nobody builds what is not. The few younger sources are entries of their own. An exclusive reader sees the state one step
late, so `shift` is one less for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.forms import Delta, DiagonalDecay, MixerForm, ScalarDecay, Softmax, Toeplitz
from workbench.kernels.blocking import blocks
from workbench.kernels.grouping import select_heads, spread
from workbench.kernels.precision import compute_dtype

Reader = ScalarDecay | DiagonalDecay | Delta
PerStep = Float[Tensor, "batch time heads"]
Vectors = Float[Tensor, "batch time heads key"]

# Numbers held for the channels that are looked at together: 128 MB in float32.
ELEMENTS = 2**23


@dataclass(frozen=True)
class Unrolled:
    """Some channels of a mixer.

    Attributes:
        far: a form whose heads are the channels, of all sources but the youngest; its source `r` is ``r - shift``.
        near: entries of the youngest sources, as many as there are taps, the destination itself first; 0 where the
            sequence has not begun.
        shift: see `far`.
    """

    far: Reader
    near: Float[Tensor, "batch time channels taps"]
    shift: int


def can_unroll(form: MixerForm) -> bool:
    """Whether the core is one of the recurrences that this is about (no softmax, no filter)."""
    return not isinstance(form.core, Softmax | Toeplitz)


def unrolled(form: MixerForm, units: Sequence[int] | None = None) -> Iterator[Unrolled]:
    """The chosen channels of a mixer in order (all: ``h * V + c`` is channel `c` of head `h`), some at a time."""
    core = form.core
    _, _, heads, channels = form.outputs.shape
    assert not isinstance(core, Softmax | Toeplitz)
    chosen = torch.arange(heads * channels, device=core.v.device)
    chosen = chosen if units is None else chosen[list(units)]
    for span in blocks(len(chosen), 8 * form.core.batch * core.time * core.k.shape[-1], ELEMENTS):
        yield _channels(form, core, chosen[span])


def _channels(form: MixerForm, core: Reader, chosen: Int[Tensor, " channels"]) -> Unrolled:
    channels = form.outputs.shape[-1]
    heads, head = torch.unique(chosen // channels, return_inverse=True)  # `head` is a channel's place in `part`
    part = select_heads(core, heads.tolist())
    assert not isinstance(part, Softmax | Toeplitz)
    dtype = compute_dtype(core.q, core.k, core.v, core.log_decay, core.write)
    lags = torch.ones(len(chosen), 1, dtype=dtype, device=core.v.device)
    if form.conv is not None:
        lags = form.conv.flip(-1).flatten(0, 1)[chosen].to(dtype)
    taps, exclusive = lags.shape[-1], part.diagonal is not None
    shift = taps - exclusive
    carried = _carried_keys(part, shift, dtype)

    def of_channels(factor: Tensor | None, default: float) -> PerStep:
        if factor is None:
            return torch.full((core.batch, core.time, len(chosen)), default, dtype=dtype, device=core.v.device)
        return factor.expand(core.batch, core.time, core.heads, channels).flatten(2)[..., chosen].to(dtype)

    gate, skip = of_channels(form.gate, 1), of_channels(form.skip, 0)
    sources = [_later(of_channels(form.source, 1), m) for m in range(shift + 1)]
    same = torch.equal(head, torch.arange(part.heads, device=head.device))  # one channel a head, as in Mamba-1

    def at_heads(x: Tensor) -> Tensor:
        return x if same else x[:, :, head]

    entries = [at_heads(entry) for entry in _band(part, carried, taps, dtype)]
    near = []
    for distance in range(taps):
        # What came in `distance` steps ago is in the value `m` steps back through tap ``distance - m``.
        entry = sum(
            (lags[:, distance - m] * sources[m] * entries[m] for m in range(1, distance + 1)), torch.zeros_like(gate)
        )
        entry = entry + lags[:, distance] * sources[0] * entries[0]
        near.append(_since(distance, gate * entry + lags[:, distance] * sources[0] * skip))
    oldest = torch.zeros_like(at_heads(carried[0]))
    for m in range(1 - exclusive, shift + 1):
        oldest = torch.addcmul(oldest, (lags[:, shift - m] * sources[m])[..., None], at_heads(carried[m]))
    return Unrolled(_far(part, at_heads, _since(shift, oldest), gate, dtype), torch.stack(near, dim=-1), shift)


def _carried_keys(core: Reader, steps: int, dtype: torch.dtype) -> list[Vectors]:
    """``M_t .. M_{t-m+1} w k`` of the source `m` steps back, for each `m` up to `steps`."""
    key = spread(core.k, core.heads, dim=2).to(dtype)
    source = key if core.write is None else key * core.write.to(dtype)[..., None]
    log_decay = core.log_decay.to(dtype)
    if isinstance(core, ScalarDecay):
        log_decay = log_decay[..., None]
    elif isinstance(core, DiagonalDecay) and core.rate is not None:
        log_decay = log_decay * core.rate.to(dtype)
    decay = log_decay.exp()
    carried = [source]
    for _ in range(steps):
        moved = decay * _later(carried[-1], 1)
        if isinstance(core, Delta):
            probe = key if core.probe is None else spread(core.probe, core.heads, dim=2).to(dtype)
            erase = source if core.erase is None else spread(core.erase, core.heads, dim=2).to(dtype)
            moved = moved - erase * (probe * moved).sum(-1, keepdim=True)
        carried.append(moved)
    return carried


def _band(core: Reader, carried: list[Vectors], taps: int, dtype: torch.dtype) -> list[PerStep]:
    """``A[t, t - m]`` for each `m` below the number of taps."""
    query = spread(core.q, core.heads, dim=2).to(dtype)
    read = 1 if core.read is None else core.read.to(dtype)

    def entries(keys: Vectors) -> PerStep:
        return read * torch.einsum("bthk,bthk->bth", query, keys)

    if core.diagonal is None:
        return [entries(carried[m]) for m in range(taps)]
    below = [entries(_later(carried[m - 1], 1)) for m in range(1, taps)]
    return [core.diagonal.to(dtype), *below]


def _far(core: Reader, at_heads: Callable[[Tensor], Tensor], key: Vectors, gate: PerStep, dtype: torch.dtype) -> Reader:
    """The core with a head for each channel: its transitions and queries, the channel's keys and gate."""

    def spread_out(x: Tensor) -> Tensor:
        one = x.shape[2] == 1  # what all share is a view
        return x.expand(-1, -1, gate.shape[2], -1) if one else at_heads(spread(x, core.heads, dim=2))

    read = gate if core.read is None else gate * at_heads(core.read.to(dtype))
    own: dict[str, Any] = {"diagonal": None if core.diagonal is None else torch.zeros_like(gate)}
    if isinstance(core, DiagonalDecay) and core.rate is not None:
        own["rate"] = at_heads(core.rate[None, None])[0, 0]
    if isinstance(core, Delta):
        source = core.k if core.write is None else spread(core.k, core.heads, dim=2) * core.write[..., None]
        own["probe"] = spread_out(core.k if core.probe is None else core.probe)
        own["erase"] = spread_out(source if core.erase is None else core.erase)
    v = torch.zeros_like(gate)[..., None]
    log_decay = at_heads(core.log_decay)
    return replace(core, q=spread_out(core.q), k=key, v=v, log_decay=log_decay, write=None, read=read, **own)


def _later(x: Float[Tensor, "batch time *rest"], steps: int) -> Float[Tensor, "batch time *rest"]:
    """Every step sees what was `steps` before it; 0 before the sequence."""
    if steps == 0:
        return x
    out = torch.zeros_like(x)
    out[:, steps:] = x[:, : max(0, x.shape[1] - steps)]
    return out


def _since(step: int, x: Float[Tensor, "batch time *rest"]) -> Float[Tensor, "batch time *rest"]:
    """What there is from a step on; 0 before."""
    return torch.cat([torch.zeros_like(x[:, :step]), x[:, step:]], dim=1)
