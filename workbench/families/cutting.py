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
from workbench.knockout import Cut, meeting, silenced
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
    form, device = inlet.form, inlet.form.v.device
    sources: list[Bool[Tensor, " time"]] = []
    inside: list[Bool[Tensor, "time heads"]] = []
    for cut in cuts:
        cut.begin(fresh, layer)
        read, reading = cut.rows(form.time, device)
        sources.append(read)
        inside.append(reading[:, None] & cut.of_heads(form.heads, device))
    left, left_v = z, form.v
    groups = meeting(cuts)
    for group in groups:
        past = cuts[group[0]].past.setdefault(group, {})
        if not fresh and not past:
            raise InputError(f"The knock-outs of layer {layer} have to stay the same ones until a text ends.")
        where = _all([inside[i] for i in group])
        others = {i for other in groups if set(group) < set(other) for i in other} - set(group)
        if others:
            where = where & ~_any([inside[i] for i in sorted(others)])
        # Where a write only adds, not having written is to have written nothing.
        erased = [i for i in group if cuts[i].meaning == "write" and isinstance(form, Delta)]
        silent = [sources[i] for i in group if i not in erased]
        values = _of_sources(past, inlet, _any(silent)) if silent else None
        v = form.v if values is None else form.v - values
        if isinstance(form, Delta) and erased:
            never = _any([sources[i] for i in erased])
            # What earlier calls wrote is in the state that the cut carries; at first that is the layer's.
            kept = _continued(past, _never_written(replace(form, v=v), never), start, backend)
            v = silenced(v, never)
        else:
            assert values is not None
            kept = z - _continued(past, replace(form, v=values), None, backend)
        left = torch.where(where[None, :, :, None], kept.to(z.dtype), left)
        left_v = torch.where(where[None, :, :, None], v, left_v)
    return left, left_v


def _of_sources(past: dict[str, Tensor], inlet: Inlet, sources: Bool[Tensor, " time"]) -> Values:
    """The part of the values that comes from the sources: theirs, or their inputs' through a convolution."""
    path, v = inlet.path, inlet.form.v
    if path is None or path.conv is None:
        return silenced(v, ~sources)
    inputs = silenced(path.inputs.to(v.dtype), ~sources)
    taps = path.conv.shape[-1]
    before = past.get("conv")
    before = inputs.new_zeros(inputs.shape[0], taps - 1, *inputs.shape[2:]) if before is None else before
    full = torch.cat([before, inputs], dim=1)
    past["conv"] = full[:, full.shape[1] - (taps - 1) :]
    flat = full.flatten(2).transpose(1, 2)
    weight = path.conv.to(v.dtype).flatten(0, 1)[:, None]
    convolved = F.conv1d(flat, weight, groups=flat.shape[1]).transpose(1, 2).reshape(inputs.shape)
    return convolved if path.source is None else convolved * path.source()


def _never_written(form: Delta, sources: Bool[Tensor, " time"]) -> Delta:
    """The recurrence whose steps neither erase nor write at the sources."""
    written = torch.ones_like(form.v[..., 0]) if form.write is None else form.write
    without = replace(form, write=silenced(written, sources))
    if form.erase is not None:
        without = replace(without, erase=silenced(form.erase, sources))
    if form.diagonal is not None:
        without = replace(without, diagonal=silenced(form.diagonal, sources))
    return without


def _continued(
    past: dict[str, Tensor],
    form: RecurrentForm,
    start: Float[Tensor, "batch heads key value"] | None,
    backend: kernels.Backend,
) -> Values:
    out, final = kernels.forward(form, past.get("state", start), backend=backend)
    if final is None:
        raise InputError("A form without a state cannot be cut while decoding.")
    past["state"] = final
    return out


def _any(marks: Sequence[Bool[Tensor, "*shape"]]) -> Bool[Tensor, "*shape"]:
    return torch.stack(list(marks)).any(0)


def _all(marks: Sequence[Bool[Tensor, "*shape"]]) -> Bool[Tensor, "*shape"]:
    return torch.stack(list(marks)).all(0)
