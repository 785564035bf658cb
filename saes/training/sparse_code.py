"""The few features a vector has, and the two maps around them, at the cost of those few.

Of `d_sae` features a TopK autoencoder keeps `k`. What the encoder says of the others has to be computed, or nobody
could tell which those `k` are; but the decoder, and the gradient of every weight, are sums over the kept ones alone.
Dense code multiplies zeros there: six matrix products of the encoder's size a step instead of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

ROWS = 1024
"""Rows whose pre-activations are held at a time where only their largest are wanted."""


@dataclass(frozen=True)
class Kept:
    """Which features are kept, vector after vector; `i` counts the kept ones.

    Attributes:
        rows: the vector that each belongs to, ascending.
        features: which feature it is.
        starts: where each vector's begin.
        shape: vectors and features there are in all.
    """

    rows: Int[Tensor, " kept"]
    features: Int[Tensor, " kept"]
    starts: Int[Tensor, " batch"]
    shape: tuple[int, int]

    def within(self, low: int, high: int) -> tuple[Kept, Tensor]:
        """Those of the features from `low` to before `high`, counted from `low`; and which of ours they are."""
        chosen = ((self.features >= low) & (self.features < high)).nonzero()[:, 0]
        rows = self.rows[chosen]
        starts = torch.searchsorted(rows, torch.arange(self.shape[0], device=rows.device))
        return Kept(rows, self.features[chosen] - low, starts, (self.shape[0], high - low)), chosen

    def tensor(self, values: Float[Tensor, " kept"]) -> Tensor:
        """A sparse tensor ``[batch, d_sae]`` of values, off the graph."""
        places = torch.stack([self.rows, self.features])
        return torch.sparse_coo_tensor(places, values.detach(), self.shape, check_invariants=False)

    def by_feature(self) -> tuple[Tensor, Tensor]:
        """The kept ones in the order of their features, and where each feature's begin."""
        order = self.features.argsort(stable=True)
        counts = torch.bincount(self.features, minlength=self.shape[1])
        return order, counts.cumsum(0) - counts


@torch.no_grad()
def largest(
    x: Float[Tensor, "batch d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, " d_sae"],
    scale: Float[Tensor, " d_sae"] | None,
    k: int,
) -> tuple[Kept, Float[Tensor, " kept"]]:
    """The `k` features of each vector with the largest pre-activation, times `scale` where there is one.

    Returns the kept ones and their pre-activations, not scaled.
    """
    batch, d_sae = len(x), W_enc.shape[1]
    features = torch.empty(batch, k, dtype=torch.long, device=x.device)
    values = torch.empty(batch, k, dtype=x.dtype, device=x.device)
    held = x.new_empty(min(ROWS, batch), d_sae)
    for start in range(0, batch, ROWS):
        part = x[start : start + ROWS]
        pre = torch.addmm(b_enc, part, W_enc, out=held[: len(part)])
        if scale is not None:
            pre *= scale
        top = pre.topk(k, dim=-1, sorted=False)
        features[start : start + ROWS], values[start : start + ROWS] = top.indices, top.values
    rows = torch.arange(batch, device=x.device).repeat_interleave(k)
    kept = Kept(rows, features.flatten(), torch.arange(0, batch * k, k, device=x.device), (batch, d_sae))
    flat = values.flatten()
    return kept, flat if scale is None else flat / scale[kept.features]


@torch.no_grad()
def largest_of_batch(
    x: Float[Tensor, "batch d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, " d_sae"],
    scale: Float[Tensor, " d_sae"] | None,
    count: int,
) -> tuple[Kept, Float[Tensor, " kept"]]:
    """The `count` largest positive pre-activations of all vectors together; else as `largest`."""
    pre = torch.addmm(b_enc, x, W_enc)
    if scale is not None:
        pre *= scale
    # A selection out of all of them would copy them with their places, 16 bytes each. A bound from some of the rows
    # leaves little more than is wanted; where it leaves less, a lower one follows.
    some = pre[:: max(1, len(pre) // 64)].flatten()
    share = min(1.0, count / pre.numel())
    while True:
        share = min(1.0, 1.5 * share)
        bound = float(some.topk(max(1, int(share * some.numel())), sorted=False).values.min())
        bound = max(bound, 0.0) if share < 1 else 0.0
        places = (pre > bound).nonzero()
        if len(places) >= count or bound == 0:
            break
    values = pre[places[:, 0], places[:, 1]]
    if len(values) > count:
        chosen = values.topk(count, sorted=False).indices.sort().values
        places, values = places[chosen], values[chosen]
    rows, features = places[:, 0].contiguous(), places[:, 1].contiguous()
    starts = torch.searchsorted(rows, torch.arange(len(x), device=x.device))
    return Kept(rows, features, starts, (len(x), W_enc.shape[1])), values if scale is None else values / scale[features]


class _Preactivations(torch.autograd.Function):
    """``((x - b_dec) W_enc + b_enc)`` at the kept places, known already; gradients are sums over these places."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        b_dec: Tensor | None,
        kept: Kept,
        values: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, W_enc, b_dec)
        ctx.kept = kept
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, W_enc, b_dec = ctx.saved_tensors
        kept: Kept = ctx.kept
        order, starts = kept.by_feature()
        centred = x if b_dec is None else x - b_dec
        by_bias = torch.zeros(kept.shape[1], dtype=x.dtype, device=x.device).index_add_(0, kept.features, gradient)
        by_encoder = _summed(kept.rows[order], centred, starts, gradient[order]).T
        # The centre moves every vector alike: of its gradient only the sum over vectors is wanted.
        by_centre = None if b_dec is None else -(by_bias @ W_enc.T)
        by_x = _summed(kept.features, W_enc.T.contiguous(), kept.starts, gradient) if ctx.needs_input_grad[0] else None
        return by_x, by_encoder, by_bias, by_centre, None, None


def preactivations(
    x: Float[Tensor, "batch d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, " d_sae"],
    b_dec: Float[Tensor, " d_in"] | None,
    kept: Kept,
    values: Float[Tensor, " kept"],
) -> Float[Tensor, " kept"]:
    """The pre-activations of kept features, with gradients.

    Args:
        b_dec: what is subtracted from `x`; None for nothing.
        values: what they are, of `largest` or `largest_of_batch`.
    """
    apply: Any = _Preactivations.apply
    found: Tensor = apply(x, W_enc, b_enc, b_dec, kept, values)
    return found


def decoded(
    kept: Kept, values: Float[Tensor, " kept"], W_dec: Float[Tensor, "d_sae d_out"]
) -> Float[Tensor, "batch d_out"]:
    """The sum of the kept features' decoder rows, each times its value."""
    return _summed(kept.features, W_dec, kept.starts, values)


def _summed(which: Tensor, vectors: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    if not len(which):
        return vectors[:1].sum() * 0 + vectors.new_zeros(len(starts), vectors.shape[1])
    return F.embedding_bag(which, vectors, starts, mode="sum", per_sample_weights=weights.to(vectors.dtype))
