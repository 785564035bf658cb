"""How long each head keeps what it wrote, read off its decay gates."""

from __future__ import annotations

import math

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.forms import DiagonalDecay, Form, ScalarDecay, Softmax, Toeplitz
from workbench.model import HookedModel
from workbench.wrapping import Mask, ModelInput


def log_decays(form: Form) -> Float[Tensor, "batch time heads key_or_one"] | None:
    """Natural log of what a step leaves of the state, a head and key dimension; at most 0.

    None for forms without a decay: a softmax keeps every key, a convolution keeps each value for a fixed time. What a
    delta rule takes away along one direction is no decay and is not in it.
    """
    if isinstance(form, Softmax | Toeplitz):
        return None
    if isinstance(form, ScalarDecay):
        return form.log_decay[..., None]
    if isinstance(form, DiagonalDecay) and form.rate is not None:
        return form.log_decay * form.rate
    return form.log_decay


@checked_call
@torch.no_grad()
def gate_half_lives(
    model: HookedModel,
    input: ModelInput,
    *,
    layers: list[int] | None = None,
    mixer: int | None = None,
    attention_mask: Mask = None,
) -> pd.DataFrame:
    """The half-life of every head's memory by its gates alone, on this input.

    Over many steps a state dimension is multiplied by the product of its decays, so its effective rate is the mean of
    ``-log_decay`` and its half-life ``ln 2`` over that. What is written in the place of something else (a delta rule's
    erasure) or read with another query fades sooner; `memory_function` sees that, too.

    Args:
        input: text or tokens; pads do not count.
        layers: all by default.
        mixer: which of a layer's mixers, where it has several; all by default.

    Returns:
        One row a head: ``layer``, ``mixer``, ``head``, ``family``; ``half_life``, the median over the head's key
        dimensions, with ``shortest`` and ``longest``; ``fast`` and ``slow``, half-lives at the gate's 5 % and 95 %
        quantile over tokens and key dimensions. All in tokens; infinite where nothing decays, as in softmax.

    Raises:
        InputError: no such layer or mixer.
    """
    tokens, mask = model.prepared(input, attention_mask)
    rows: list[dict[str, object]] = []
    for layer, attention in model.implicit_attentions(tokens, layers, attention_mask=mask, mixer=mixer):
        adapter = model.mixer(layer, attention.mixer)
        logs = log_decays(attention.form.core)
        place = {"layer": layer, "mixer": attention.mixer}
        if logs is None:
            keeps_all = isinstance(attention.form.core, Softmax)
            same = math.inf if keeps_all else math.nan
            numbers = dict.fromkeys(("half_life", "shortest", "longest", "fast", "slow"), same)
            rows += [{**place, "head": head, "family": adapter.family, **numbers} for head in range(adapter.n_heads)]
            continue
        real = torch.ones(tokens.shape, dtype=torch.bool) if mask is None else mask.bool()
        flat = logs.expand(*logs.shape[:2], adapter.n_heads, -1)[real.to(logs.device)].double().cpu()
        mean = _half_life(flat.mean(0))
        steps = flat.transpose(0, 1).flatten(1)
        ends = _half_life(torch.stack([_quantile(steps, 0.05), _quantile(steps, 0.95)]))
        for head in range(adapter.n_heads):
            rows.append(
                {
                    **place,
                    "head": head,
                    "family": adapter.family,
                    "half_life": float(mean[head].median()),
                    "shortest": float(mean[head].min()),
                    "longest": float(mean[head].max()),
                    "fast": float(ends[0, head]),
                    "slow": float(ends[1, head]),
                }
            )
    return pd.DataFrame(rows)


def _half_life(log_decay: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``ln 2 / -log_decay``; infinite for 0."""
    return math.log(2) / (-log_decay).clamp_min(0)


def _quantile(rows: Float[Tensor, "rows values"], level: float) -> Float[Tensor, " rows"]:
    # torch.quantile takes at most 16 million numbers; a sorted row has no such limit.
    ordered = rows.sort(1).values
    return ordered[:, round(level * (rows.shape[1] - 1))]
