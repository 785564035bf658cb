"""Linear-time statistics in compiled loops against the dense matrix of the reference in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels.random_forms import RECURRENT, relative_error
from tests.kernels.test_recurrence import COMPILED, exactly, random_form
from workbench import kernels
from workbench.kernels.delta.transposed import transposed
from workbench.kernels.native import energies, recurrence

pytestmark = pytest.mark.skipif(recurrence.library() is None, reason="The compiled loops need a C++ compiler.")
STATISTICS: dict[str, Callable[..., Tensor]] = {
    "row_sum": kernels.row_sum,
    "column_sum": kernels.column_sum,
    "row_energy": kernels.row_energy,
    "energy_distance": kernels.energy_distance,
}


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("kind", COMPILED)
def test_every_layout_and_reading(kind: str, statistic: str) -> None:
    for time in (1, 70):
        form = RECURRENT[kind](time, torch.float32)
        expected = STATISTICS[statistic](exactly(form), backend="reference")
        got = STATISTICS[statistic](form, backend="cpu")
        assert got.dtype == torch.float32 and got.shape == expected.shape
        assert relative_error(got, expected) < 2e-6 or expected.norm() < 1e-30


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["scalar", "channel", "delta", "delta, channel", "apart", "apart, channel"]),
    statistic=st.sampled_from(sorted(STATISTICS)),
    time=st.integers(1, 40),
    groups=st.sampled_from([1, 2, 4]),
    key=st.sampled_from([1, 3, 16, 17, 33]),
    strength=st.sampled_from([0.0, 0.01, 1.0, 50.0]),
    seed=st.integers(0, 10**6),
)
def test_any_shape_and_any_decay(
    kind: str, statistic: str, time: int, groups: int, key: int, strength: float, seed: int
) -> None:
    form = random_form(kind, time, 4, groups, key, 2, strength, seed)
    expected = STATISTICS[statistic](exactly(form), backend="reference")
    got = STATISTICS[statistic](form, backend="cpu")
    # A column's sum may cancel: what it is measured by are the entries.
    size = kernels.dense(exactly(form), backend="reference").norm()
    size = size**2 * time if "energy" in statistic else size * time**0.5
    assert (got.double() - expected).norm() <= 3e-6 * size + 1e-30


def test_the_transposed_delta_rule_has_the_transposed_matrix() -> None:
    for kind in ("delta", "delta, channel", "apart, channel"):
        form = exactly(random_form(kind, 17, 4, 2, 5, 3, 1.0, 0))
        matrix = kernels.dense(form, backend="reference")
        turned = kernels.dense(transposed(form), backend="reference")
        if form.write is not None:
            matrix = matrix / form.write.transpose(1, 2)[:, :, None]
        torch.testing.assert_close(turned, matrix.flip(2, 3).mT, atol=1e-10, rtol=1e-8)


def test_where_a_gradient_is_asked_for_the_loops_are_not_taken() -> None:
    form = RECURRENT["scalar decay"](9, torch.float32)
    leaf = form.k.clone().requires_grad_()
    with pytest.raises(ValueError, match="a gradient is asked for"):
        kernels.row_energy(replace(form, k=leaf), backend="cpu")
    kernels.row_energy(replace(form, k=leaf)).sum().backward()
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0


def test_one_thread_and_two_agree_bit_for_bit() -> None:
    form = random_form("delta, channel", 30, 4, 2, 20, 4, 1.0, 3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = kernels.energy_distance(form, backend="cpu")
        torch.set_num_threads(2)
        two = kernels.energy_distance(form, backend="cpu")
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, two)


def test_the_loops_are_those_that_were_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []
    original = energies.energies
    monkeypatch.setattr(energies, "energies", lambda *args: entered.append(1) or original(*args))
    kernels.row_energy(RECURRENT["mamba"](5, torch.float32))
    assert entered
