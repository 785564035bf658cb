"""Percentile bootstrap intervals of means, for many columns at once.

The unit that is resampled is the row: a sequence, a seed, a draw. Positions of one sequence are not independent and
are averaged before they come here.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError

# Columns whose resampled means are held at once: 1000 draws of 8192 columns are 64 MB in float64.
_COLUMNS_AT_ONCE = 8192


class Interval(NamedTuple):
    """A mean and its confidence limits."""

    mean: float
    low: float
    high: float


class Intervals(NamedTuple):
    """Means and confidence limits of several columns."""

    mean: Float[Tensor, " columns"]
    low: Float[Tensor, " columns"]
    high: Float[Tensor, " columns"]


def bootstrap_means(
    values: Float[Tensor, "units columns"],
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    units: str = "sequences",
) -> Intervals:
    """Mean over units and percentile bootstrap interval, a column at a time (Efron and Tibshirani 1993, chapter 13).

    Every column sees the same resampled units, so differences between columns may be compared draw by draw.

    Args:
        values: one row an independent unit; in the units of the measurement.
        level: coverage, between 0 and 1.
        draws: resamples.
        seed: of the resampling.
        units: what a row is, for the warning where there is only one.

    Returns:
        float64 tensors on the CPU. With a single unit there is no spread to see: the limits are NaN, and a warning says
        so.

    Raises:
        InputError: no units, or `level` or `draws` outside their range.
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level}; a coverage between 0 and 1 is needed, such as 0.95.")
    if draws < 1:
        raise InputError(f"draws is {draws}; at least one resample is needed.")
    count = values.shape[0]
    if count == 0:
        raise InputError("There are no units to average: the first axis is empty.")
    data = values.detach().to(device="cpu", dtype=torch.float64)
    mean = data.mean(0)
    if count == 1:
        warnings.warn(f"An interval takes at least two {units}; of a single one its limits are NaN.", stacklevel=2)
        unknown = torch.full_like(mean, float("nan"))
        return Intervals(mean, unknown, unknown.clone())
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (draws, count), generator=generator)
    weights = torch.zeros(draws, count, dtype=torch.float64)
    weights.scatter_add_(1, drawn, torch.full((draws, count), 1 / count, dtype=torch.float64))
    tail = (1 - level) / 2
    limits = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = torch.empty_like(mean), torch.empty_like(mean)
    for start in range(0, data.shape[1], _COLUMNS_AT_ONCE):
        part = slice(start, start + _COLUMNS_AT_ONCE)
        low[part], high[part] = torch.quantile(weights @ data[:, part], limits, dim=0)
    return Intervals(mean, low, high)


def bootstrap_mean(
    values: Float[Tensor, " units"], *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> Interval:
    """Mean of one column and its percentile bootstrap interval; see `bootstrap_means`."""
    mean, low, high = bootstrap_means(values[:, None], level=level, draws=draws, seed=seed)
    return Interval(float(mean[0]), float(low[0]), float(high[0]))
