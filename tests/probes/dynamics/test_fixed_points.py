"""Fixed points, spectra, exponents and orbits of maps that are solved on paper."""

import math

import pytest
import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.dynamics import (
    eigenvalues,
    find_fixed_points,
    find_orbits,
    frequency,
    lyapunov_exponents,
    orbit_table,
    state_jacobian,
    time_constant,
)

F64 = torch.float64


def linear(matrix: Tensor, offset: Tensor):
    return lambda states: states @ matrix.T + offset


def bistable(states: Tensor) -> Tensor:
    return torch.tanh(2 * states)


def test_a_linear_network_has_one_fixed_point_and_its_matrix_for_a_jacobian() -> None:
    matrix = torch.tensor([[0.5, -0.6, 0.0], [0.6, 0.5, 0.1], [0.0, 0.0, 0.9]], dtype=F64)
    inputs, read = torch.tensor([[1.0], [2.0], [-1.0]], dtype=F64), torch.tensor([0.7], dtype=F64)
    step = linear(matrix, inputs @ read)
    found = find_fixed_points(step, torch.randn(6, 3, dtype=F64), iterations=20)
    expected = torch.linalg.solve(torch.eye(3, dtype=F64) - matrix, inputs @ read)
    assert len(found.points) == 1 and found.starts.tolist() == [6] and found.lost == 0
    torch.testing.assert_close(found.points[0], expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(state_jacobian(step, expected), matrix)
    row = found.table().iloc[0]
    assert row["kind"] == "fixed" and row["stability"] == "attractor" and row["unstable"] == 0
    assert row["radius"] == pytest.approx(0.9) and row["time_constant"] == pytest.approx(-1 / math.log(0.9))
    sizes = found.spectra[0].abs()
    assert sizes.tolist() == pytest.approx([0.9, math.sqrt(0.61), math.sqrt(0.61)])
    assert frequency(complex(found.spectra[0][1])) == pytest.approx(math.atan2(0.6, 0.5) / (2 * math.pi))


def test_a_bistable_unit_has_three_fixed_points_two_of_them_stable() -> None:
    found = find_fixed_points(bistable, torch.linspace(-2, 2, 9, dtype=F64)[:, None])
    assert sorted(found.points[:, 0].tolist()) == pytest.approx([-0.9575040240772687, 0, 0.9575040240772687], abs=1e-9)
    table = found.table().assign(point=found.points[:, 0].tolist()).sort_values("point")
    assert table["stability"].tolist() == ["attractor", "repeller", "attractor"]
    assert table["radius"].tolist()[1] == pytest.approx(2)
    assert table["radius"].tolist()[0] == pytest.approx(2 * (1 - 0.9575040240772687**2))
    assert (table["kind"] == "fixed").all()


def test_a_saddle_between_two_attractors_is_called_one() -> None:
    def step(states: Tensor) -> Tensor:
        return torch.stack([torch.tanh(2 * states[:, 0]), 0.5 * states[:, 1]], dim=1)

    table = find_fixed_points(step, torch.tensor([[0.01, 0.3], [1.0, 0.2]], dtype=F64)).table()
    assert sorted(table["stability"]) == ["attractor", "saddle"]


def test_a_narrow_passage_is_a_slow_point_and_no_fixed_one() -> None:
    # x' = x + x^2 + c never stands still for c > 0; it is slowest at x = 0, with speed c^2 / 2.
    def step(states: Tensor) -> Tensor:
        return states + states**2 + 0.01

    found = find_fixed_points(step, torch.tensor([[0.3], [-0.2]], dtype=F64), slow=1e-3)
    row = found.table().iloc[0]
    assert len(found.points) == 1 and row["kind"] == "slow"
    assert abs(float(found.points[0, 0])) < 1e-3 and row["speed"] == pytest.approx(0.01**2 / 2, rel=1e-3)
    nowhere = find_fixed_points(step, torch.tensor([[0.3]], dtype=F64), slow=1e-6)
    assert len(nowhere.points) == 0 and nowhere.lost == 1 and nowhere.table().empty


def test_exponents_of_a_linear_map_are_the_logarithms_of_its_eigenvalues() -> None:
    matrix = torch.tensor([[0.9, 0.5, 0.2], [0.0, 0.6, -0.3], [0.0, 0.0, 0.25]], dtype=F64)
    found = lyapunov_exponents(linear(matrix, torch.zeros(3, dtype=F64)), torch.zeros(3, dtype=F64))
    expected = eigenvalues(matrix).abs().log()
    assert found.exponents.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert (found.errors < 1e-6).all()
    assert found.kaplan_yorke == 0
    leading = lyapunov_exponents(linear(matrix, torch.zeros(3, dtype=F64)), torch.zeros(3, dtype=F64), count=1)
    assert leading.table()["time_constant"][0] == pytest.approx(-1 / math.log(0.9), rel=1e-5)


def test_the_logistic_map_is_as_chaotic_as_it_is_known_to_be() -> None:
    def step(states: Tensor) -> Tensor:
        return 4 * states * (1 - states)

    found = lyapunov_exponents(step, torch.tensor([0.3], dtype=F64), steps=3000)
    assert found.exponents[0].item() == pytest.approx(math.log(2), abs=0.02)
    assert found.kaplan_yorke == 1


def test_a_driven_map_takes_one_step_of_each() -> None:
    scales = [0.5, 0.8, 2.0, 0.1]
    steps = [lambda states, scale=scale: scale * states for scale in scales]
    found = lyapunov_exponents(steps, torch.ones(1, dtype=F64), steps=3, settle=1)
    assert found.exponents[0].item() == pytest.approx(math.log(0.8 * 2.0 * 0.1) / 3)
    with pytest.raises(InputError, match="need as many maps"):
        lyapunov_exponents(steps, torch.ones(1, dtype=F64), steps=4, settle=1)


@pytest.mark.parametrize(("growth", "period"), [(2.8, 1), (3.2, 2), (3.5, 4)])
def test_orbits_of_the_logistic_map_have_its_known_periods(growth: float, period: int) -> None:
    (orbit,) = find_orbits(lambda x: growth * x * (1 - x), torch.tensor([[0.3]], dtype=F64), steps=3000)
    assert orbit.period == period and orbit.kind == ("point" if period == 1 else "cycle")
    assert orbit.transient is not None and orbit.transient > 0
    if period == 2:
        root = math.sqrt((growth + 1) * (growth - 3))
        expected = sorted([(growth + 1 - root) / (2 * growth), (growth + 1 + root) / (2 * growth)])
        assert sorted(orbit.states[:, 0].tolist()) == pytest.approx(expected, abs=1e-6)


def test_chaos_has_no_period_and_growth_no_bound() -> None:
    chaos, escape = (
        find_orbits(lambda x, a=a: a * x * (1 - x), torch.tensor([[0.3]], dtype=F64))[0] for a in (3.9, 4.5)
    )
    assert (chaos.kind, escape.kind) == ("open", "unbounded")
    assert orbit_table([chaos, escape])["kind"].tolist() == ["open", "unbounded"]


def test_time_constants_of_eigenvalues() -> None:
    assert time_constant(0.5) == pytest.approx(1 / math.log(2))
    assert (time_constant(1), time_constant(0)) == (math.inf, 0) and time_constant(2) < 0
    assert (frequency(-0.5), frequency(1j), frequency(3)) == (0.5, 0.25, 0)


def test_single_precision_and_empty_searches_are_refused() -> None:
    with pytest.raises(InputError, match="searched in float64"):
        find_fixed_points(bistable, torch.zeros(1, 1))
    with pytest.raises(InputError, match="at least one finite state"):
        find_fixed_points(bistable, torch.full((1, 1), math.nan, dtype=F64))
    with pytest.raises(InputError, match="0 < tolerance <= slow"):
        find_fixed_points(bistable, torch.zeros(1, 1, dtype=F64), tolerance=1.0, slow=0.5)


def test_a_map_that_keeps_some_directions_as_they_are_loses_no_start() -> None:
    generator = torch.Generator().manual_seed(0)
    moved = torch.randn(300, 200, dtype=F64, generator=generator) / 300**0.5
    change = torch.cat([moved, torch.zeros(300, 100, dtype=F64)], dim=1)  # the last 100 coordinates move nothing
    goal = change @ torch.randn(300, dtype=F64, generator=generator)
    step = linear(torch.eye(300, dtype=F64) + change, goal)
    found = find_fixed_points(step, torch.randn(8, 300, dtype=F64, generator=generator), iterations=0, newton=1)
    assert found.lost == 0 and len(found.points) == 8
    torch.testing.assert_close(step(found.points), found.points, rtol=1e-7, atol=1e-7)
