"""What cutting edges means for a recurrent mixer: the sources' part of the layer, run beside it and taken away.

A recurrence is linear in its values once its gates are given. So what a destination reads from some sources is the
recurrence of those sources' values alone, and in time linear in the length: no matrix is built. While decoding, that
run carries a state of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from workbench import kernels
from workbench.errors import InputError
from workbench.forms import Delta, RecurrentForm
from workbench.knockout import Cut, silenced
from workbench.mixing import Inlet, Values


def taken_away(
    cuts: Sequence[Cut],
    inlet: Inlet,
    z: Values,
    start: Float[Tensor, "batch heads key value"] | None,
    fresh: bool,
    layer: int,
    backend: kernels.Backend = "auto",
) -> tuple[Values, Values]:
    """The core's output and the values as the skip sees them, with every edge of `cuts` gone.

    Args:
        z: the core's output with all edges.
        start: the state before this call; the cuts carry theirs in `Cut.past`.
        fresh: whether a sequence begins here.

    Raises:
        InputError: see `Cut.begin` and `Cut.of_heads`.
    """
    form = inlet.form
    v = form.v
    for cut in cuts:
        cut.begin(fresh, layer)
        sources, destinations = cut.rows(form.time, v.device)
        heads = cut.of_heads(form.heads, v.device)
        if cut.meaning == "write" and isinstance(form, Delta):
            gone = _as_never_written(cut, form, z, sources, start, backend)
        else:
            values = _of_sources(cut, inlet, sources)
            gone = _continued(cut, "state", replace(form, v=values), None, backend)
            v = v - _where(values, destinations, heads)
        z = z - _where(gone.to(z.dtype), destinations, heads)
    return z, v


def _of_sources(cut: Cut, inlet: Inlet, sources: Bool[Tensor, " time"]) -> Values:
    """The part of the values that comes from the sources' inputs, through convolution and recorded slopes."""
    path, v = inlet.path, inlet.form.v
    if path is None:
        return silenced(v, ~sources)
    inputs = silenced(path.inputs.to(v.dtype), ~sources)
    if path.conv is not None:
        taps = path.conv.shape[-1]
        past = cut.past.get("conv")
        past = inputs.new_zeros(inputs.shape[0], taps - 1, *inputs.shape[2:]) if past is None else past
        full = torch.cat([past, inputs], dim=1)
        cut.past["conv"] = full[:, full.shape[1] - (taps - 1) :]
        flat = full.flatten(2).transpose(1, 2)
        weight = path.conv.to(v.dtype).flatten(0, 1)[:, None]
        inputs = F.conv1d(flat, weight, groups=flat.shape[1]).transpose(1, 2).reshape(inputs.shape)
    return inputs if path.source is None else inputs * path.source


def _as_never_written(
    cut: Cut,
    form: Delta,
    z: Values,
    sources: Bool[Tensor, " time"],
    start: Float[Tensor, "batch heads key value"] | None,
    backend: kernels.Backend,
) -> Values:
    """What the destinations lose when the sources' steps neither erase nor write."""
    written = torch.ones_like(form.v[..., 0]) if form.write is None else form.write
    without = replace(form, write=silenced(written, sources))
    if form.erase is not None:
        without = replace(without, erase=silenced(form.erase, sources))
    if form.diagonal is not None:
        without = replace(without, diagonal=silenced(form.diagonal, sources))
    # What earlier calls wrote, sources and others, is in the state that the cut carries; at first that is the layer's.
    return z - _continued(cut, "state", without, start, backend)


def _continued(
    cut: Cut,
    name: str,
    form: RecurrentForm,
    start: Float[Tensor, "batch heads key value"] | None,
    backend: kernels.Backend,
) -> Values:
    state = cut.past.get(name, start)
    out, final = kernels.forward(form, state, backend=backend)
    if final is None:
        raise InputError("A form without a state cannot be cut while decoding.")
    cut.past[name] = final
    return out


def _where(x: Values, rows: Bool[Tensor, " time"], heads: Bool[Tensor, " heads"]) -> Values:
    return x * (rows[:, None] & heads)[None, :, :, None]
