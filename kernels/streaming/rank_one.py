"""Heads that hold one number a step (RG-LRU, RWKV-4, cells of LSTM and GRU): everything in linear time.

With K = 1 an entry is ``q_t c_s exp(G_t - G_s)``: the query scales its whole row, and what is left shrinks all past
sources alike. So their order never changes, and a row's shares are the earlier row's, mixed with the new source: with
``Z_t = a_t Z_{t-1} + |c_t|`` and ``p_t = a_t Z_{t-1} / Z_t``, entropies follow ``H_t = p_t H_{t-1} + h(p_t)`` by the
grouping property (`h` is that of a coin) and mean distances ``d_t = p_t (d_{t-1} + 1)``. Neither subtracts anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.kernels.diagonal_decay.scan import linear_scan
from workbench.kernels.forms import DiagonalDecay, ScalarDecay
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype, running_sum, sum_dtype
from workbench.kernels.streaming.result import Plan, Streamed
from workbench.kernels.streaming.tiles import largest, share

BLOCK = 64
Series = Float[Tensor, "time batch heads"]


@dataclass(frozen=True)
class _Scalars:
    """The form's operands, time first, in float64.

    Attributes:
        source: `c` above, ``w k``.
        total: inclusive running sum of the log decays, -1000 for a reset.
    """

    q: Series
    source: Series
    decay: Series
    total: Series


def scanned(form: ScalarDecay | DiagonalDecay, plan: Plan) -> Streamed:
    """The reductions of the form's matrix; nothing is missed, whatever the tolerance."""
    rate = form.rate if isinstance(form, DiagonalDecay) else None
    dtype, given = compute_dtype(form.q, form.k, form.log_decay, form.write, rate), _scalars(form)
    q, source, decay = given.q.abs(), given.source.abs(), given.decay
    mass, energy = _scan(decay, source), _scan(decay.square(), source.square())
    rows = {"missed": torch.zeros_like(mass), "mass": q * mass}
    alive = q > 0  # a row of NaN is one of NaN
    old = share(decay * _before(mass), mass)
    if "energy" in plan:
        rows["energy"] = q.square() * energy
    if "entropy" in plan:
        coin = torch.special.entr(old) + torch.special.entr(share(source, mass))
        rows["entropy"] = _scan(old, coin).where(alive, q)
    if "mean_distance_by_mass" in plan:
        rows["mean_distance_by_mass"] = _scan(old, old).where(alive, q)
    if "mean_distance_by_energy" in plan:
        squared = share(decay.square() * _before(energy), energy)
        rows["mean_distance_by_energy"] = _scan(squared, squared).where(alive, q)
    if "column_mass" in plan:
        rows["column_mass"] = source * _scan_back(decay, q)
    if "column_energy" in plan:
        rows["column_energy"] = source.square() * _scan_back(decay.square(), q.square())
    results = {name: series.movedim(0, 1).to(dtype) for name, series in rows.items()}
    if "histogram" in plan:
        results["histogram"] = _histogram(given, mass, plan.edges).to(dtype)
        results["edges"] = torch.tensor(plan.edges, device=form.v.device)
    if "top" in plan:
        values, sources = _largest_so_far(given, plan.top)
        values = (values * given.q[..., None]).movedim(0, 1).to(dtype)
        results["top_values"] = values
        results["top_sources"] = sources.movedim(0, 1).masked_fill(values == 0, -1)
    return Streamed(**results)


def _scalars(form: ScalarDecay | DiagonalDecay) -> _Scalars:
    wide = sum_dtype(form.v.device)
    q, k = (spread(x[..., 0].to(wide), form.heads, dim=2).movedim(1, 0) for x in (form.q, form.k))
    log_decay = form.log_decay.to(wide)
    if isinstance(form, DiagonalDecay):
        log_decay = (log_decay if form.rate is None else log_decay * form.rate.to(wide))[..., 0]
    log_decay = log_decay.movedim(1, 0)
    source = k if form.write is None else k * form.write.to(wide).movedim(1, 0)
    return _Scalars(q, source, log_decay.exp(), running_sum(log_decay, dim=0))


def _scan(decay: Series, updates: Series) -> Series:
    """``h_t = decay_t h_{t-1} + updates_t``."""
    if not len(updates):
        return updates
    states, _ = linear_scan(
        decay[..., None, None], updates[..., None, None], torch.zeros_like(updates[0])[..., None, None]
    )
    return states[..., 0, 0]


def _scan_back(decay: Series, updates: Series) -> Series:
    """``h_s = updates_s + decay_{s+1} h_{s+1}``."""
    # Backwards, the decay of step t stands between t and t - 1.
    return _scan(_before(decay.flip(0)), updates.flip(0)).flip(0)


def _before(series: Series) -> Series:
    """What each step finds of the step before it."""
    return torch.cat([torch.zeros_like(series[:1]), series[:-1]])


def _histogram(given: _Scalars, mass: Series, edges: tuple[int, ...]) -> Float[Tensor, "batch heads bins"]:
    """What lies at or beyond each edge is the mass of an earlier step, decayed since."""
    beyond = []
    for edge in (max(0, edge) for edge in edges):
        length = max(0, len(mass) - edge)
        between = given.total[len(mass) - length :] - given.total[:length]
        beyond.append((given.q[len(mass) - length :].abs() * between.exp() * mass[:length]).sum(0))
    tails = torch.stack(beyond, dim=-1)
    return tails[..., :-1] - tails[..., 1:]


def _largest_so_far(
    given: _Scalars, top: int
) -> tuple[Float[Tensor, "time batch heads top"], Int[Tensor, "time batch heads top"]]:
    """The largest sources up to each step, decayed to it, before the query."""
    time, *heads = given.q.shape
    kept = given.q.new_zeros(*heads, top)
    kept_sources = torch.full_like(kept, -1, dtype=torch.long)
    values, sources = [kept[None][:0]], [kept_sources[None][:0]]
    for start in range(0, time, BLOCK):
        span = slice(start, min(start + BLOCK, time))
        since = given.total[start - 1] if start else torch.zeros_like(given.total[0])
        total = given.total[span] - since
        steps = len(total)
        future = torch.ones(steps, steps, dtype=torch.bool, device=total.device).triu(1)
        between = (total[:, None] - total).masked_fill(future[..., None, None], -torch.inf).movedim(1, -1)
        own = between.exp() * given.source[span].movedim(0, -1)
        here = torch.arange(span.start, span.stop, device=total.device).expand_as(own)
        found, where = largest(
            [own.masked_fill(future[:, None, None], 0).flip(-1), total.exp()[..., None] * kept],
            [here.flip(-1), kept_sources.expand(steps, *kept_sources.shape)],
            top,
        )
        values.append(found)
        sources.append(where)
        kept, kept_sources = found[-1], where[-1]
    return torch.cat(values), torch.cat(sources)
