"""Sums over rows and columns of A, linear in its length, from the kernels that run a form's maps.

Long forms are taken a stretch of time after another, so that what the maps hold does not grow with the length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Reader
from workbench.kernels.segments import during
from workbench.kernels.triton import running
from workbench.kernels.triton.energies import run_energies
from workbench.kernels.triton.layout import on_device_of, strides
from workbench.kernels.triton.maps import Maps
from workbench.kernels.triton.operations import maps_of

PerToken = Float[Tensor, "batch time heads"]

# Rows of maps that are held at a time, times their length: 256 MB a map in float32. A multiple of every chunk.
_HELD = 2**26
_MULTIPLE = 64


def row_sum(form: Reader) -> PerToken:
    """``sum_s A[t, s]``: the outputs for values of 1."""
    state, parts = None, [_nothing(form)]
    for part in _stretches(form):
        with on_device_of(part.v):
            maps = maps_of(part)
            state, starts = running.states(maps, part.v, state)
            parts.append(running.outputs(maps, part.v, starts)[..., 0])
    return torch.cat(parts, dim=1)


def column_sum(form: Reader) -> PerToken:
    """``sum_t A[t, s]``: what the gradient of the values is when every output's is 1."""
    state, parts = None, [_nothing(form)]
    for part in reversed(list(_stretches(form))):
        with on_device_of(part.v):
            maps = maps_of(part)
            state, ends = running.state_gradients(maps, part.v, state)
            parts.append(running.value_gradients(maps, part.v, ends, torch.float32)[..., 0])
    return torch.cat(parts[::-1], dim=1)


def row_energy(form: Reader) -> PerToken:
    """``sum_s A[t, s]^2``."""
    return _energies(form, distance=False)


def energy_distance(form: Reader) -> PerToken:
    """``sum_s A[t, s]^2 (t - s)``, in tokens."""
    return _energies(form, distance=True)


def _energies(form: Reader, distance: bool) -> PerToken:
    key = form.k.shape[-1]
    near = torch.zeros(form.batch, form.heads, key, key, dtype=torch.float32, device=form.v.device)
    far = torch.zeros_like(near) if distance else None
    parts = [_nothing(form)]
    for part in _stretches(form):
        with on_device_of(part.v):
            parts.append(_stretch_energies(maps_of(part), near, far))
    return torch.cat(parts, dim=1)


def _stretch_energies(maps: Maps, near: Tensor, far: Tensor | None) -> PerToken:
    """Energies of a stretch, or their distances where there is a `far`; both states are carried to its end."""
    tiles, heads = maps.tiles, maps.heads
    batch, time = maps.matrix.shape[:2]
    key = maps.keys.shape[-1]
    columns = tiles.key if maps.probes is not None else min(tiles.key, 32)
    parts = triton.cdiv(key, columns)
    energies = near.new_empty(parts, batch, time, heads)
    distances = None if far is None else torch.empty_like(energies)
    run_energies[batch * heads, parts](
        maps.queries, maps.query_scale, maps.keys, maps.key_scale, maps.matrix, maps.total, maps.probes, maps.erasers,
        near, far, energies, distances,
        *strides(maps.queries, heads), *strides(maps.keys, heads), time, heads,
        KEY=key, BLOCK_KEY=tiles.key, COLUMNS=columns, STEPS=tiles.steps, TOTALS=maps.total.shape[-1],
        PRECISION=tiles.precision, num_warps=8, num_stages=1,
    )  # fmt: skip
    return (energies if distances is None else distances).sum(0)


def _stretches(form: Reader) -> Iterator[Reader]:
    """The form in stretches of time, with values of 1, each one's state following from the last one's."""
    ones = torch.ones((), dtype=torch.float32, device=form.v.device).expand(*form.v.shape[:3], 1)
    form = replace(form, v=ones)
    row = max(1, form.batch * form.heads * max(form.k.shape[-1], _MULTIPLE))
    length = max(_MULTIPLE, _HELD // row // _MULTIPLE * _MULTIPLE)
    for start in range(0, form.time, length):
        part = during(form, slice(start, min(start + length, form.time)))
        assert isinstance(part, type(form))
        yield part


def _nothing(form: Reader) -> PerToken:
    return torch.zeros(form.batch, 0, form.heads, dtype=torch.float32, device=form.v.device)
