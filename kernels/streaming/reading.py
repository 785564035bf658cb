"""Reductions of an exclusive reader, from those of the plain form it is reduced to.

`kernels.reading` moves the queries one step earlier, so that ``A[t, s] = A'[t - 1, s]`` for s < t; what was read of A'
belongs one step later and is one token further away, and the diagonal is one more source, the latest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels import reading
from workbench.kernels.forms import Form, Softmax, Toeplitz
from workbench.kernels.precision import compute_dtype
from workbench.kernels.streaming.result import Plan, Streamed, binned
from workbench.kernels.streaming.tiles import largest, share

PerToken = Float[Tensor, "batch time heads"]


def streamed(form: Form, plan: Plan, compute: Callable[[Form, Plan], Streamed]) -> Streamed:
    """The reductions of a form; `compute` knows plain forms only."""
    plain = reading.plain(form)
    diagonal = None if isinstance(form, Softmax | Toeplitz) else form.diagonal
    if diagonal is None:
        return compute(plain, plan)
    earlier = compute(plain, replace(plan, edges=tuple(edge - 1 for edge in plan.edges)))
    own = diagonal.to(compute_dtype(earlier.mass, diagonal))
    size = own.abs()
    below = _later(earlier.mass)
    mass = below + size
    old = share(below, mass)

    def moved(distance: PerToken | None, part: PerToken) -> PerToken | None:
        return None if distance is None else part * (_later(distance) + 1)

    entropy = earlier.entropy
    if entropy is not None:
        coin = torch.special.entr(old) + torch.special.entr(share(size, mass))
        entropy = coin + old * _later(entropy)
    energy, squared = earlier.energy, old
    if energy is not None:
        below_energy = _later(energy)
        energy = below_energy + size.square()
        squared = share(below_energy, energy)
    values, sources = earlier.top_values, earlier.top_sources
    if values is not None and sources is not None:
        steps = torch.arange(form.time, device=own.device)[:, None, None].expand_as(own[..., None])
        values, sources = largest([own[..., None], _later(values)], [steps, _later(sources)], plan.top)
    histogram = earlier.histogram
    if histogram is not None:
        histogram = histogram + binned(size.sum(1)[..., None], plan.edges)
    return Streamed(
        missed=_later(earlier.missed) * old,
        mass=mass,
        energy=energy,
        entropy=entropy,
        mean_distance_by_mass=moved(earlier.mean_distance_by_mass, old),
        mean_distance_by_energy=moved(earlier.mean_distance_by_energy, squared),
        top_values=values,
        top_sources=sources,
        column_mass=None if earlier.column_mass is None else earlier.column_mass + size,
        column_energy=None if earlier.column_energy is None else earlier.column_energy + size.square(),
        histogram=histogram,
        edges=None if earlier.edges is None else earlier.edges + 1,
    )


def _later(x: Tensor) -> Tensor:
    """Everything one step later; a first step without sources, and the last left out."""
    first = torch.zeros_like(x[:, :1]) if x.is_floating_point() else torch.full_like(x[:, :1], -1)
    return torch.cat([first, x[:, :-1]], dim=1)
