"""A Toeplitz matrix: row `t` holds the first ``t + 1`` weights of the filter, so all is read from the filter itself."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from workbench.kernels.forms import Toeplitz
from workbench.kernels.precision import compute_dtype, sum_dtype
from workbench.kernels.streaming.result import Plan, Streamed, binned
from workbench.kernels.streaming.tiles import largest, share

BLOCK = 64


def filtered(form: Toeplitz, plan: Plan) -> Streamed:
    """The reductions of the form's matrix, in time linear in its length."""
    dtype, device = compute_dtype(form.kernel), form.kernel.device
    kernel = form.kernel.to(sum_dtype(device))[:, : max(1, form.time)]
    lag = torch.arange(kernel.shape[1], device=device)
    size = kernel.abs()
    reached = torch.arange(form.time, device=device).clamp(max=kernel.shape[1] - 1)

    def rows(values: Shaped[Tensor, "heads lags *more"]) -> Shaped[Tensor, "batch time heads *more"]:
        own = values[:, reached].transpose(0, 1)
        return own.expand(form.batch, *own.shape)

    mass, energy = size.cumsum(1), size.square().cumsum(1)
    results = {"missed": rows(torch.zeros_like(mass)), "mass": rows(mass)}
    if "energy" in plan:
        results["energy"] = rows(energy)
    if "entropy" in plan:
        entropy = share(torch.special.entr(size).cumsum(1), mass) + mass.log().where(mass != 0, 0)
        results["entropy"] = rows(entropy.clamp(min=0))
    if "mean_distance_by_mass" in plan:
        results["mean_distance_by_mass"] = rows(share((size * lag).cumsum(1), mass))
    if "mean_distance_by_energy" in plan:
        results["mean_distance_by_energy"] = rows(share((size.square() * lag).cumsum(1), energy))
    if "top" in plan:
        values, lags = _largest_so_far(kernel, plan.top)
        results["top_values"] = rows(values)
        sources = torch.arange(form.time, device=device)[:, None, None] - rows(lags)
        results["top_sources"] = sources.masked_fill(results["top_values"] == 0, -1)
    # A source is read by as many steps as follow it.
    if "column_mass" in plan:
        results["column_mass"] = rows(mass).flip(1)
    if "column_energy" in plan:
        results["column_energy"] = rows(energy).flip(1)
    if "histogram" in plan:
        by_lag = (size * (form.time - lag).clamp(min=0)).expand(form.batch, -1, -1)
        results["histogram"] = binned(by_lag, plan.edges)
        results["edges"] = torch.tensor(plan.edges, device=device)
    return Streamed(**{name: x.to(dtype) if x.is_floating_point() else x for name, x in results.items()})


def _largest_so_far(kernel: Float[Tensor, "heads lags"], top: int) -> tuple[Tensor, Tensor]:
    """The largest of the first lags, for every number of them: values and lags, ``[heads, lags, top]``."""
    heads, lags = kernel.shape
    kept, kept_lags = kernel.new_zeros(heads, top), kernel.new_full((heads, top), -1, dtype=torch.long)
    values, places = [], []
    for start in range(0, lags, BLOCK):
        own = kernel[:, start : start + BLOCK]
        width = own.shape[1]
        # Smaller lags are later sources: what is kept comes first.
        here = torch.arange(start, start + width, device=kernel.device).expand(heads, width, -1)
        found, where = largest(
            [kept[:, None].expand(-1, width, -1), own[:, None].expand(-1, width, -1).tril()],
            [kept_lags[:, None].expand(-1, width, -1), here],
            top,
        )
        values.append(found)
        places.append(where)
        kept, kept_lags = found[:, -1], where[:, -1]
    return torch.cat(values, dim=1), torch.cat(places, dim=1)
