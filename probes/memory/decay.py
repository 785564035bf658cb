"""How fast something fades: exponential and power-law fits of a curve over lags, and its half-life.

A stable linear recurrence forgets exponentially (Li et al. 2022, "Approximation and Optimization Theory for Linear
Continuous-Time Recurrent Neural Networks", JMLR 23; Wang, Li and Li 2023, "Inverse Approximation Theory for Nonlinear
Recurrent Neural Networks", arXiv:2305.19190); a sum of many time constants looks like a power of the lag over the range
that they span. Both are straight lines, in the logarithm of the value against the lag or against the lag's logarithm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError


@dataclass(frozen=True)
class DecayFit:
    """Two fits of ``value(lag)``, by least squares in the logarithm of the value.

    Attributes:
        rate: of ``scale * exp(-rate * lag)``, per token; below 0 where the curve grows.
        scale: the exponential's value at lag 0.
        exponential_error: root mean square residual of that fit, in nats.
        exponent: of ``factor * lag ** -exponent``, fitted to the lags from 1 on.
        factor: the power law's value at lag 1.
        power_error: root mean square residual of that fit, in nats.
        crossing: the first lag at which the curve is at most half of its first value, interpolated in the logarithm;
            infinite where it never is.
        points: how many values were above 0 and entered the exponential fit.
    """

    rate: float
    scale: float
    exponential_error: float
    exponent: float
    factor: float
    power_error: float
    crossing: float
    points: int

    @property
    def half_life(self) -> float:
        """``ln 2 / rate`` of the exponential fit, in tokens; infinite where nothing fades."""
        return math.log(2) / self.rate if self.rate > 0 else math.inf

    @property
    def time_constant(self) -> float:
        """``1 / rate``, in tokens; infinite where nothing fades."""
        return 1 / self.rate if self.rate > 0 else math.inf

    @property
    def better(self) -> Literal["exponential", "power"]:
        """Which fit leaves the smaller residual; both have two parameters."""
        return "exponential" if self.exponential_error <= self.power_error else "power"


def fit_decay(lags: Float[Tensor, " lags"], values: Float[Tensor, " values"]) -> DecayFit:
    """Fit a curve over lags; values that are not above 0 have no logarithm and are left out.

    Args:
        lags: increasing, in tokens, from 0 on.
        values: what is left at each lag, in any unit.

    Raises:
        InputError: lags and values do not pair up, lags do not increase, or fewer than three values are above 0.
    """
    lags, values = lags.detach().double().cpu(), values.detach().double().cpu()
    if lags.shape != values.shape:
        raise InputError(f"{len(lags)} lags and {len(values)} values do not pair up.")
    if len(lags) and (float(lags[0]) < 0 or bool((lags.diff() <= 0).any())):
        raise InputError("Lags increase, and the first is at least 0.")
    usable = (values > 0) & values.isfinite()
    if int(usable.sum()) < 3:
        raise InputError(f"A decay is fitted to at least three values above 0; there are {int(usable.sum())}.")
    x, y = lags[usable], values[usable].log()
    slope, offset, error = _line(x, y)
    later = x > 0
    if int(later.sum()) >= 2:
        steep, height, power_error = _line(x[later].log(), y[later])
    else:
        steep = height = power_error = math.nan
    return DecayFit(
        rate=-slope,
        scale=math.exp(offset),
        exponential_error=error,
        exponent=-steep,
        factor=math.exp(height),
        power_error=power_error,
        crossing=half_crossing(lags, values),
        points=int(usable.sum()),
    )


def half_crossing(lags: Float[Tensor, " lags"], values: Float[Tensor, " lags"]) -> float:
    """The first lag at which a curve is at most half of its first value, interpolated in the logarithm; else infinity.

    Where the value drops to 0 or below there is no logarithm, and the line between the two values is straight.
    """
    half = float(values[0]) / 2
    below = (values <= half).nonzero()
    if half <= 0 or not len(below):
        return math.inf
    at = int(below[0])
    if at == 0:
        return float(lags[0])
    left, right = float(values[at - 1]), float(values[at])
    if right > 0:
        left, right, half = math.log(left), math.log(right), math.log(half)
    share = (left - half) / (left - right)
    return float(lags[at - 1]) + share * (float(lags[at]) - float(lags[at - 1]))


def _line(x: Float[Tensor, " points"], y: Float[Tensor, " points"]) -> tuple[float, float, float]:
    """Slope, offset and root mean square residual of a least-squares line."""
    centred = x - x.mean()
    slope = float((centred * (y - y.mean())).sum() / centred.square().sum())
    offset = float(y.mean()) - slope * float(x.mean())
    return slope, offset, float((y - slope * x - offset).square().mean().sqrt())
