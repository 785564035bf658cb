"""Streamed reductions of A by the kernel in `walks`."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from workbench.kernels.forms import Reader
from workbench.kernels.streaming.bounds import reach
from workbench.kernels.streaming.result import Plan, Streamed
from workbench.kernels.streaming.tiles import largest, share
from workbench.kernels.triton.layout import on_device_of, strides
from workbench.kernels.triton.operations import maps_of
from workbench.kernels.triton.walks import walk_sources


def reduced(form: Reader, plan: Plan) -> Streamed:
    """The reductions of a form without `read` and `diagonal` that has at least one step; no histogram."""
    ones = torch.ones((), dtype=torch.float32, device=form.v.device).expand(*form.v.shape[:3], 1)
    form = replace(form, v=ones)
    batch, time, heads = form.batch, form.time, form.heads
    width = 1 << max(0, plan.top - 1).bit_length()
    sums = torch.empty(5, batch, time, heads, dtype=torch.float64, device=ones.device)
    missed = torch.empty(batch, time, heads, dtype=torch.float32, device=ones.device)
    values = sources = None
    if "top" in plan:
        values = torch.empty(batch, time, heads, width, dtype=torch.float32, device=ones.device)
        sources = torch.empty(batch, time, heads, width, dtype=torch.int32, device=ones.device)
    columns = {
        name: torch.zeros_like(sums[0]) if name in plan.wanted else None for name in ("column_mass", "column_energy")
    }
    limit = reach(form).transpose(1, 2).contiguous() if plan.tolerance else None
    with on_device_of(ones):
        maps = maps_of(form)
        tiles = maps.tiles
        walk_sources[maps.chunks, batch * heads](
            maps.queries, maps.query_scale, maps.keys, maps.key_scale, maps.matrix, maps.total, maps.probes,
            maps.erasers, limit, sums, missed, values, sources, columns["column_mass"], columns["column_energy"],
            *strides(maps.queries, heads), *strides(maps.keys, heads), time, heads, plan.tolerance,
            KEY=form.k.shape[-1], BLOCK_KEY=tiles.key, STEPS=tiles.steps, TOTALS=maps.total.shape[-1], TOP=width,
            ENTROPY="entropy" in plan, PRECISION=tiles.precision, num_warps=8, num_stages=1,
        )  # fmt: skip
    return _named(plan, sums, missed, values, sources, columns)


def _named(
    plan: Plan,
    sums: Tensor,
    missed: Tensor,
    values: Tensor | None,
    sources: Tensor | None,
    columns: dict[str, Tensor | None],
) -> Streamed:
    mass, energy, entropy, distance, square_distance = sums.unbind(0)
    found: dict[str, Tensor | None] = {name: x if x is None else x.float() for name, x in columns.items()}
    if "entropy" in plan:
        found["entropy"] = (share(entropy, mass) + mass.log().where(mass != 0, 0)).clamp(min=0).float()
    if "mean_distance_by_mass" in plan:
        found["mean_distance_by_mass"] = share(distance, mass).float()
    if "mean_distance_by_energy" in plan:
        found["mean_distance_by_energy"] = share(square_distance, energy).float()
    if values is not None and sources is not None:
        # Of equal entries the later source comes first: `largest` keeps the order it is given.
        order = sources.argsort(dim=-1, descending=True)
        found["top_values"], found["top_sources"] = largest(
            [values.gather(-1, order)], [sources.gather(-1, order).long()], plan.top
        )
    return Streamed(
        missed=share(missed, mass).float(),
        mass=mass.float(),
        energy=energy.float() if "energy" in plan else None,
        **found,
    )
