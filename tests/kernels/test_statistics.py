"""What is read without the matrix equals what is read from it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import random_forms
from tests.kernels.random_forms import ALL, relative_error
from workbench import kernels


def check(form: kernels.Form, tolerance: float) -> None:
    matrix = kernels.dense(form, backend="reference").double()
    time, source = matrix.shape[-2:]
    distance = torch.arange(source - time, source)[:, None] - torch.arange(source)
    squares = matrix.square()
    expected = {
        kernels.row_sum: matrix.sum(-1),
        kernels.column_sum: matrix.sum(-2),
        kernels.row_energy: squares.sum(-1),
        kernels.energy_distance: (squares * distance).sum(-1),
    }
    for read, value in expected.items():
        for backend in ("reference", "chunked"):
            got = read(form, backend=backend)
            assert relative_error(got, value.transpose(1, 2)) < tolerance, (read.__name__, backend)
    if isinstance(form, kernels.Softmax):
        mass = (matrix * distance).sum(-1).transpose(1, 2)
        for backend in ("reference", "chunked"):
            assert relative_error(kernels.mass_distance(form, backend=backend), mass) < tolerance, backend


@pytest.mark.parametrize("time", [1, 2, 15, 16, 17, 130])
@pytest.mark.parametrize("kind", ALL)
def test_statistics_are_those_of_the_matrix(kind: str, time: int) -> None:
    check(ALL[kind](time), 1e-10)


@pytest.mark.parametrize("kind", random_forms.RECURRENT)
def test_statistics_remember_over_many_chunks(kind: str) -> None:
    check(random_forms.RECURRENT[kind](200, mean=0.005), 1e-10)


@pytest.mark.parametrize("kind", ALL)
def test_statistics_hold_in_float32(kind: str) -> None:
    check(ALL[kind](130, torch.float32), 1e-5)


@pytest.mark.parametrize("kind", random_forms.RECURRENT)
def test_energies_keep_their_digits_row_by_row_under_strong_decay(kind: str) -> None:
    form = random_forms.RECURRENT[kind](300, torch.float32, mean=20.0)
    matrix = kernels.dense(form, backend="reference").double()
    exact = matrix.square().sum(-1).transpose(1, 2)
    # Per entry, not over the largest: a row of small energy must be right too. It may be small by cancellation in
    # q . k, whose rounding is relative to |q| |k|, so rows that cancelled are left out.
    kept = exact > 1e-3 * exact.median()
    assert kept.double().mean() > 0.9
    assert ((kernels.row_energy(form).double() - exact) / exact)[kept].abs().max() < 1e-3


def test_softmax_over_a_cache_reads_the_same_statistics() -> None:
    check(random_forms.softmax(5, source=12), 1e-10)
    check(random_forms.softmax_with_everything(5, source=12), 1e-10)


@settings(max_examples=25, deadline=None)
@given(
    time=st.integers(1, 60),
    heads=st.integers(1, 3),
    groups=st.integers(1, 2),
    key=st.integers(1, 6),
    strength=st.floats(0, 60),
    write=st.booleans(),
    factored=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_statistics_hold_for_any_shape_and_decay(
    time: int, heads: int, groups: int, key: int, strength: float, write: bool, factored: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    heads = heads * groups
    q, k = torch.randn(2, 1, time, groups, key, dtype=torch.float64)
    v = torch.zeros(1, time, heads, 1, dtype=torch.float64)
    weight = torch.randn(1, time, heads, dtype=torch.float64) if write else None
    log_decay = -strength * torch.rand(1, time, heads, 1 if factored else key, dtype=torch.float64) ** 4
    rate = torch.rand(heads, key, dtype=torch.float64) if factored else None
    check(kernels.DiagonalDecay(q, k, v, log_decay, rate, weight), 1e-10)
    check(kernels.ScalarDecay(q, k, v, log_decay[..., 0], weight), 1e-10)


def test_a_sinks_share_is_missing_from_the_row_sum() -> None:
    form = random_forms.softmax_with_everything(12)
    assert form.mask is not None and form.sinks is not None
    scores = kernels.pattern(form)
    open_rows = form.mask.any(-1).expand(scores.shape[:3]).transpose(1, 2)
    sums = kernels.row_sum(form)
    assert (sums[open_rows] < 1).all() and (sums[open_rows] > 0).all()
    assert (sums[~open_rows] == 0).all() and (~open_rows).any()


def test_a_reset_of_a_step_that_has_a_rate_is_one_in_matrix_and_statistics() -> None:
    form = random_forms.mamba(40)
    form.log_decay[:, 17] = -torch.inf
    check(form, 1e-10)
    assert kernels.dense(form)[:, :, 17:, :17].abs().max() < 1e-300  # factors end at the smallest normal number
