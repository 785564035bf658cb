"""Timescales of units from the autocorrelation of their activations.

A unit that integrates with a leak ``1 - a`` has the autocorrelation ``a ** k``, and its time constant is
``-1 / ln a`` tokens (Khajehabdollahi et al. 2024, "Emergent mechanisms for long timescales depend on training
curriculum and affect performance in memory tasks", arXiv:2309.12927; a similar fit in Mahto et al. 2021,
"Multi-timescale Representation Learning in LSTM Language Models").
"""

from __future__ import annotations

import math

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.wrapping import ModelInput


def autocorrelation(activations: Float[Tensor, "batch time units"], lags: int) -> Float[Tensor, "lags units"]:
    """Correlation of each unit with itself `k` tokens later, ``k = 0 .. lags - 1``.

    Means are taken over all sequences and tokens. The covariance at lag `k` is an average over the ``time - k`` pairs
    that there are, so that it is not biased towards zero. A unit that never changes is NaN.

    Raises:
        InputError: no lags, or as many as there are tokens.
    """
    time = activations.shape[1]
    if not 1 <= lags < time:
        raise InputError(f"Sequences of {time} tokens have autocorrelations at 1 to {time - 1} lags; got {lags}.")
    centred = activations.double() - activations.double().mean((0, 1))
    covariance = torch.stack([(centred[:, lag:] * centred[:, : time - lag]).mean((0, 1)) for lag in range(lags)])
    return torch.where(covariance[0] > 0, covariance / covariance[0], torch.nan)


def time_constants(correlation: Float[Tensor, "lags units"], threshold: float = 1 / math.e) -> Float[Tensor, " units"]:
    """Time constant of each unit in tokens: the exponential through 1 at lag 0 that fits the logarithm best.

    The fit uses the lags up to the first at which the correlation is below `threshold`, that one included if it is
    positive: below, it is mostly noise. A unit whose correlation at lag 1 is not positive has the time constant 0, one
    that does not fall has an infinite one.

    Raises:
        InputError: fewer than two lags, or a threshold outside 0 to 1.
    """
    if correlation.shape[0] < 2:
        raise InputError("A time constant needs autocorrelations at two lags or more.")
    if not 0 < threshold < 1:
        raise InputError(f"threshold is {threshold}; a correlation between 0 and 1 is needed.")
    lag = torch.arange(correlation.shape[0], dtype=torch.float64)[:, None]
    wide = correlation.double().cpu()
    below = (wide < threshold).int()
    used = (wide > 0) & (below.cumsum(0) - below == 0)
    log = torch.where(used, wide.clamp_min(1e-300).log(), 0)
    slope = (lag * log).sum(0) / (lag * lag * used).sum(0)
    found = torch.where(slope < 0, -1 / slope, math.inf)
    found = torch.where(wide[1] > 0, found, 0.0)
    return torch.where(wide[0].isnan(), math.nan, found)


@checked_call
@torch.no_grad()
def timescales(
    model: HookedModel,
    input: ModelInput,
    name: str,
    *,
    lags: int = 64,
    skip: int = 0,
    threshold: float = 1 / math.e,
) -> pd.DataFrame:
    """Time constants of every unit at a hook point, from its autocorrelation over a text.

    Args:
        input: sequences of one length.
        name: a hook point or an alias that fires once a run, such as ``"blocks.0.mixer.hook_head_out"``, or one that
            fires once a step, ``"blocks.0.mixer.hook_state"``.
        lags: autocorrelations that are computed.
        skip: tokens at the start that are left out, while units settle.
        threshold: as in `time_constants`.

    Returns:
        One row a unit, the slowest first: ``unit`` (index into the flattened axes after time), ``time_constant`` and
        ``half_life`` in tokens, ``correlation`` (at lag 1).

    Raises:
        InputError: sequences of different lengths or too short for so many lags, or no such hook point.
    """
    tokens, mask = model.prepared(input, None)
    if mask is not None:
        raise InputError("Autocorrelations compare tokens of one sequence; give sequences of one length, unpadded.")
    seen: list[Tensor] = []

    def keep(tensor: Tensor, hook: HookPoint) -> None:
        seen.append(tensor.detach().clone() if hook.step is not None else tensor.detach())

    model.run_with_hooks(tokens, fwd_hooks=[(name, keep)], return_type=None)
    activations = torch.stack(seen, dim=1) if model.points[name].per_step else seen[0]
    if activations.shape[1] != tokens.shape[1]:
        raise InputError(f"{name} holds no value a token, so it has no timescale.")
    correlation = autocorrelation(activations.flatten(2)[:, skip:], lags)
    constants = time_constants(correlation, threshold)
    table = pd.DataFrame(
        {
            "unit": range(len(constants)),
            "time_constant": constants.tolist(),
            "half_life": (constants * math.log(2)).tolist(),
            "correlation": correlation[1].tolist(),
        }
    )
    return table.sort_values("time_constant", ascending=False, ignore_index=True)
