"""Feature activations as a sparse list: what is zero never leaves the encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.saes.autoencoder import SparseAutoencoder

BLOCK_NUMBERS = 2**22
"""Pre-activations that are worked on at once: 16 MB in float32, which the next steps still find in the cache."""
STRIPE = 64
"""Neighbouring features that are looked at together: most stripes hold nothing and are passed over by their maximum."""


@dataclass(frozen=True, eq=False)
class Codes:
    """Activations that are not zero, in the order of the vectors; features of a vector in rising order.

    Attributes:
        vector: which vector.
        feature: which feature.
        value: its activation, above 0.
    """

    vector: Int[Tensor, " active"]
    feature: Int[Tensor, " active"]
    value: Float[Tensor, " active"]

    def __len__(self) -> int:
        return len(self.value)


@torch.no_grad()
def sparse_codes(sae: SparseAutoencoder, x: Float[Tensor, "vectors d_in"]) -> Codes:
    """What `SparseAutoencoder.encode` gives, without its zeros, as float32.

    Vectors are encoded some at a time, so that no table of all features is larger than `BLOCK_NUMBERS`.
    """
    at_once = max(1, BLOCK_NUMBERS // sae.cfg.d_sae)
    parts = [_block(sae, x[start : start + at_once], start) for start in range(0, len(x), at_once)]
    if not parts:
        none = torch.empty(0, dtype=torch.long, device=x.device)
        return Codes(none, none, torch.empty(0, device=x.device))
    return Codes(*(torch.cat([getattr(part, name) for part in parts]) for name in ("vector", "feature", "value")))


def _block(sae: SparseAutoencoder, x: Tensor, first: int) -> Codes:
    pre = sae.preactivations(x)
    if sae.cfg.activation == "topk":
        vector, feature, value = _largest(pre, min(sae.cfg.k or 1, pre.shape[1]))
    else:
        vector, feature, value = _above(pre, _floor(sae, pre))
        if sae.cfg.activation == "gated":
            bias = sae.b_gate[feature]
            value = (value - bias) * sae.r_mag.exp()[feature] + sae.b_mag[feature]
    on = value > 0
    return Codes(vector[on] + first, feature[on], value[on].float())


def _floor(sae: SparseAutoencoder, pre: Tensor) -> Float[Tensor, " d_sae"]:
    """What a pre-activation has to exceed to be more than nothing."""
    zeros = torch.zeros_like(pre[0])
    return sae.threshold.to(pre).maximum(zeros) if sae.cfg.activation == "jumprelu" else zeros


def _above(
    pre: Float[Tensor, "vectors d_sae"], floor: Float[Tensor, " d_sae"]
) -> tuple[Int[Tensor, " active"], Int[Tensor, " active"], Float[Tensor, " active"]]:
    """Where numbers exceed the floor of their column, and the numbers."""
    width = pre.shape[1] // STRIPE * STRIPE
    found = []
    if width:
        stripes = pre[:, :width].unflatten(1, (-1, STRIPE))
        low = floor[:width].unflatten(0, (-1, STRIPE))
        # To look for single numbers costs several times what a maximum does, so only stripes with one are searched.
        vector, stripe = (stripes.amax(-1) > low.amin(-1)).nonzero(as_tuple=True)
        inside = stripes[vector, stripe]
        at, column = (inside > low[stripe]).nonzero(as_tuple=True)
        found.append((vector[at], stripe[at] * STRIPE + column, inside[at, column]))
    if width < pre.shape[1]:
        vector, column = (pre[:, width:] > floor[width:]).nonzero(as_tuple=True)
        found.append((vector, column + width, pre[vector, column + width]))
    vector, feature, value = (torch.cat(parts) for parts in zip(*found, strict=True))
    if len(found) == 1:
        return vector, feature, value
    order = torch.argsort(vector, stable=True)
    return vector[order], feature[order], value[order]


def _largest(
    pre: Float[Tensor, "vectors d_sae"], k: int
) -> tuple[Int[Tensor, " active"], Int[Tensor, " active"], Float[Tensor, " active"]]:
    """The `k` largest positive numbers of each vector.

    Of the stripes' maxima the k-th largest is a number that k entries reach, so no smaller entry is among the k
    largest, and only the few others are sorted.
    """
    stripes = pre.shape[1] // STRIPE
    if stripes < 2 * k:
        value, feature = pre.topk(k, dim=-1)
        return _ordered(feature, value, value > 0)
    maxima = pre[:, : stripes * STRIPE].unflatten(1, (-1, STRIPE)).amax(-1)
    floor = maxima.topk(k, dim=-1, sorted=False).values.amin(-1, keepdim=True).clamp(min=0)
    vector, feature = _reaching(pre, maxima, floor)
    counts = torch.bincount(vector, minlength=len(pre))
    offset = counts.cumsum(0) - counts
    wide = max(k, int(counts.max()))
    slot = torch.arange(len(vector), device=pre.device) - offset[vector]
    table = torch.full((len(pre), wide), float("-inf"), dtype=pre.dtype, device=pre.device)
    table[vector, slot] = pre[vector, feature]
    names = torch.zeros(len(pre), wide, dtype=torch.long, device=pre.device)
    names[vector, slot] = feature
    value, chosen = table.topk(k, dim=-1)
    return _ordered(names.gather(1, chosen), value, value > 0)


def _reaching(pre: Tensor, maxima: Tensor, floor: Tensor) -> tuple[Int[Tensor, " some"], Int[Tensor, " some"]]:
    """Where numbers are at least the floor of their row, row by row."""
    width = maxima.shape[1] * STRIPE
    vector, stripe = (maxima >= floor).nonzero(as_tuple=True)
    inside = pre[:, :width].unflatten(1, (-1, STRIPE))[vector, stripe]
    at, column = (inside >= floor[vector]).nonzero(as_tuple=True)
    rows, features = vector[at], stripe[at] * STRIPE + column
    if width == pre.shape[1]:
        return rows, features
    last, column = (pre[:, width:] >= floor).nonzero(as_tuple=True)
    rows, features = torch.cat([rows, last]), torch.cat([features, column + width])
    order = torch.argsort(rows, stable=True)
    return rows[order], features[order]


def _ordered(
    feature: Int[Tensor, "vectors k"], value: Float[Tensor, "vectors k"], on: Bool[Tensor, "vectors k"]
) -> tuple[Int[Tensor, " active"], Int[Tensor, " active"], Float[Tensor, " active"]]:
    order = torch.argsort(feature, dim=-1)
    feature, value, on = (one.gather(1, order) for one in (feature, value, on))
    return on.nonzero(as_tuple=True)[0], feature[on], value[on]
