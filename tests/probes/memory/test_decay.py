"""Fits and half-lives of curves whose decay is known."""

import math

import pytest
import torch

from workbench.errors import InputError
from workbench.probes.memory import fit_decay, half_crossing


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
def test_a_scalar_decay_has_exactly_its_half_life(kept: float) -> None:
    lags = torch.arange(40.0, dtype=torch.float64)
    fit = fit_decay(lags, 3 * kept**lags)
    assert fit.half_life == pytest.approx(math.log(2) / -math.log(kept), rel=1e-9)
    assert fit.time_constant == pytest.approx(-1 / math.log(kept), rel=1e-9)
    assert fit.scale == pytest.approx(3) and fit.exponential_error < 1e-9 and fit.better == "exponential"


def test_a_power_of_the_lag_is_told_from_an_exponential() -> None:
    lags = torch.tensor([1.0, 2, 4, 8, 16, 32, 64], dtype=torch.float64)
    fit = fit_decay(lags, 5 * lags**-1.5)
    assert fit.exponent == pytest.approx(1.5) and fit.factor == pytest.approx(5)
    assert fit.power_error < 1e-9 < fit.exponential_error and fit.better == "power"


def test_the_half_is_crossed_between_lags_where_an_exponential_crosses_it() -> None:
    lags = torch.tensor([0.0, 10, 20], dtype=torch.float64)
    assert half_crossing(lags, 0.95**lags) == pytest.approx(math.log(2) / -math.log(0.95))
    assert half_crossing(lags, torch.tensor([2.0, 1.5, 1.2], dtype=torch.float64)) == math.inf
    assert half_crossing(lags, torch.tensor([4.0, 0.0, 0.0], dtype=torch.float64)) == pytest.approx(5)


def test_what_grows_has_no_half_life_and_zeros_are_left_out() -> None:
    lags = torch.arange(5.0, dtype=torch.float64)
    assert fit_decay(lags, 1.1**lags).half_life == math.inf
    values = 0.5**lags
    values[2] = 0
    fit = fit_decay(lags, values)
    assert fit.points == 4 and fit.half_life == pytest.approx(1)


@pytest.mark.parametrize(
    ("lags", "values", "message"),
    [
        ([0.0, 1], [1.0], "do not pair up"),
        ([1.0, 0, 2], [1.0, 1, 1], "Lags increase"),
        ([0.0, 1, 2], [1.0, 0, 0], "at least three"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_a_sentence(lags: list[float], values: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_decay(torch.tensor(lags), torch.tensor(values))
