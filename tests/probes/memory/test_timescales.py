"""Timescales of units whose leak is known."""

import math

import pytest
import torch

from tests.probes.memory.models import tiny
from workbench.errors import InputError
from workbench.probes.memory import autocorrelation, time_constants, timescales


def test_a_leaky_integrator_has_the_time_constant_of_its_leak() -> None:
    kept = torch.tensor([0.5, 0.9, 0.97], dtype=torch.float64)
    noise = torch.randn(8, 6000, 3, dtype=torch.float64)
    state, states = torch.zeros(8, 3, dtype=torch.float64), []
    for step in range(6000):
        state = kept * state + noise[:, step]
        states.append(state)
    found = time_constants(autocorrelation(torch.stack(states, 1)[:, 500:], 80))
    assert found.tolist() == pytest.approx((-1 / kept.log()).tolist(), rel=0.05)


def test_an_exact_exponential_gives_its_constant_exactly() -> None:
    lag = torch.arange(30, dtype=torch.float64)[:, None]
    kept = torch.tensor([0.2, 0.8, 0.99], dtype=torch.float64)
    assert time_constants(kept**lag).tolist() == pytest.approx((-1 / kept.log()).tolist(), rel=1e-9)


def test_noise_below_the_threshold_does_not_count() -> None:
    correlation = 0.5 ** torch.arange(10, dtype=torch.float64)[:, None]
    correlation[3:] = 0.3
    assert time_constants(correlation).item() == pytest.approx(1 / math.log(2), rel=1e-9)


def test_white_noise_constants_and_alternation_have_the_constants_of_their_kind() -> None:
    time = torch.arange(400.0, dtype=torch.float64)
    units = torch.stack([(-1.0) ** time, torch.full_like(time, 3.0)], dim=1)[None]
    constants = time_constants(autocorrelation(units, 5))
    assert constants[0] == 0 and constants[1].isnan()


def test_autocorrelation_is_numpys_correlation_of_shifted_series() -> None:
    series = torch.randn(1, 200, 1, dtype=torch.float64)
    centred = series[0, :, 0] - series.mean()
    expected = (centred[3:] * centred[:-3]).mean() / centred.square().mean()
    assert autocorrelation(series, 4)[3, 0].item() == pytest.approx(expected.item())


def test_units_of_a_model_are_listed_slowest_first_at_hooks_of_either_kind() -> None:
    model = tiny("mamba2", layers=1)
    tokens = torch.randint(40, (2, 40))
    for name in ("blocks.0.mixer.hook_z", "blocks.0.mixer.hook_state"):
        table = timescales(model, tokens, name, lags=10)
        constants = table["time_constant"].tolist()
        assert constants == sorted(constants, reverse=True) and len(set(table["unit"])) == len(table)
    states = model.recurrent_states(tokens, 0).flatten(2)
    again = time_constants(autocorrelation(states, 10))
    assert table["time_constant"].tolist() == pytest.approx(again[table["unit"].tolist()].tolist())


def test_too_many_lags_are_refused() -> None:
    with pytest.raises(InputError, match="1 to 4 lags"):
        autocorrelation(torch.zeros(1, 5, 1), 5)
