"""The oracle of the streamed reductions: the sequential reference's matrix in float64, reduced as they are defined."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from tests.kernels.random_forms import operands
from workbench import kernels
from workbench.kernels.streaming.result import REDUCTIONS


def whole_matrix(form: kernels.Form) -> Tensor:
    """A in float64, from operands that were rounded as the form's are."""
    wide = replace(form, **{name: operand.detach().double() for name, operand in operands(form).items()})
    return kernels.dense(wide, backend="reference")


def check(
    form: kernels.Form, tolerance: float, backend: kernels.Backend = "auto", top: int = 5, **how: object
) -> kernels.Streamed:
    """Hold every reduction of the form to the matrix; `tolerance` is relative to the largest value of its kind."""
    matrix = whole_matrix(form)
    got = kernels.stream(form, REDUCTIONS, top=top, backend=backend, **how)  # type: ignore[arg-type]
    check_reductions(got, matrix, tolerance)
    return got


def check_reductions(got: kernels.Streamed, matrix: Tensor, tolerance: float) -> None:
    time, source = matrix.shape[-2:]
    size, squares = matrix.abs(), matrix.square()
    distance = torch.arange(source - time, source)[:, None] - torch.arange(source)
    mass, energy = size.sum(-1), squares.sum(-1)
    shares = size / mass[..., None].where(mass[..., None] != 0, 1)
    expected = {
        "mass": mass,
        "energy": energy,
        "entropy": torch.special.entr(shares).sum(-1),
        "mean_distance_by_mass": (shares * distance).sum(-1),
        "mean_distance_by_energy": (squares * distance).sum(-1) / energy.where(energy != 0, 1),
        "column_mass": size.sum(-2),
        "column_energy": squares.sum(-2),
    }
    for name, value in expected.items():
        value = value.transpose(1, 2)
        found = getattr(got, name).double()
        assert found.shape == value.shape, name
        if not value.numel():
            continue
        # Rows have scales of their own; but one that is small by cancellation is rounded relative to |q| |k|.
        own = name in ("mass", "energy")
        scale = value.clamp(min=0.1 * float(value.mean())) if own else value.amax().clamp(min=1)
        # What float32 cannot hold as a normal number is not held to any digit.
        assert ((found - value).abs() <= tolerance * scale + 1e-35).all(), (name, (found - value).abs().max())
    assert got.edges is not None and got.histogram is not None
    edges = got.edges.tolist()
    bins = [size.where((distance >= a) & (distance < b), 0).sum((-1, -2)) for a, b in pairwise(edges)]
    worst = (got.histogram.double() - torch.stack(bins, -1)).abs().amax() if size.numel() else 0.0
    assert worst <= tolerance * max(1.0, float(size.sum((-1, -2)).max() if size.numel() else 0))
    check_top(got, matrix, tolerance)
    assert (got.missed == 0).all()


def check_top(got: kernels.Streamed, matrix: Tensor, tolerance: float) -> None:
    """Values in order, each the entry at its source; the sources themselves wherever no other entry is as large."""
    assert got.top_values is not None and got.top_sources is not None
    values, sources = got.top_values.transpose(1, 2).double(), got.top_sources.transpose(1, 2)
    size = torch.nn.functional.pad(matrix.abs(), (0, values.shape[-1]))
    if not size.numel():
        return
    best, where = size.flip(-1).sort(stable=True, dim=-1, descending=True)
    best, where = best[..., : values.shape[-1]], size.shape[-1] - 1 - where[..., : values.shape[-1]]
    room = tolerance * best[..., :1].clamp(min=0.1 * float(best[..., 0].mean())) + 1e-35
    assert ((values.abs() - best).abs() <= room).all()
    held = matrix.gather(-1, sources.clamp(min=0)) if matrix.shape[-1] else values
    assert ((held - values).abs() <= room)[sources >= 0].all()
    assert (values == 0)[sources < 0].all()
    inner = best[..., :-1] - best[..., 1:] > 2 * room
    alone = torch.nn.functional.pad(inner, (1, 0), value=True)[..., :-1] & inner
    assert (where == sources)[..., :-1][alone].all()
