"""The canonical forms: what every token mixer is reduced to before anything is computed.

Notation, for one head: query `q_t` and key `k_t` in R^K, value `v_t` in R^V, state `S_t` in R^(K x V), natural-log
decay at most 0. A recurrent form means

    S_t = M_t S_{t-1} + w_t k_t v_t'        o_t = S_t' q_t        A[t, s] = w_s q_t' (M_t ... M_{s+1}) k_s

and every form means ``o = A v``, with `A` a causal ``[time, source]`` matrix per head that its value channels share.
Tensors are laid out sequence first. `q` and `k` may have fewer heads than `v` (grouped queries, shared B and C): head
`h` of `v` then reads group ``h // (heads // groups)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Softmax:
    """Rows of ``softmax(cap(scale * q k') + bias)``, restricted to the mask.

    Attributes:
        q, k, v: operands after any rotary embedding; queries are the last `time` of the `source` positions.
        scale: factor on ``q k'``.
        mask: True where a query may look; None means causal. A sliding window is part of the mask.
        bias: added to the scaled (and capped) scores: ALiBi, relative positions.
        softcap: c in ``c * tanh(scores / c)`` (Gemma-2), or None.
        sinks: a logit a head that takes mass and carries no value (GPT-OSS), or None.
    """

    q: Float[Tensor, "batch time heads key"]
    k: Float[Tensor, "batch source groups key"]
    v: Float[Tensor, "batch source groups value"]
    scale: float
    mask: Bool[Tensor, "#batch #heads time source"] | None = None
    bias: Float[Tensor, "#batch #heads time source"] | None = None
    softcap: float | None = None
    sinks: Float[Tensor, " heads"] | None = None

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return self.q.shape[2]


@dataclass(frozen=True)
class ScalarDecay:
    """``M_t = exp(log_decay_t) I``: Mamba-2 (SSD), RetNet, Lightning attention, linear attention.

    Attributes:
        write: `w` above, the strength with which a source is written (Mamba-2's time step); None means 1.
    """

    q: Float[Tensor, "batch time groups key"]
    k: Float[Tensor, "batch time groups key"]
    v: Float[Tensor, "batch time heads value"]
    log_decay: Float[Tensor, "batch time heads"]
    write: Float[Tensor, "batch time heads"] | None = None

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.v.shape[2]


@dataclass(frozen=True)
class DiagonalDecay:
    """``M_t = diag(exp(log_decay_t * rate))``: GLA, HGRN2; Mamba-1 with one head a channel, K = state size, V = 1.

    Attributes:
        log_decay: full, ``[batch, time, heads, key]``; or, when `rate` is given, ``[batch, time, heads, 1]``, so that
            Mamba-1 stores its time step once a channel and not once a state dimension.
        rate: non-negative factor a head and key dimension, or None.
        write: `w` above (Mamba-1's time step); None means 1.
    """

    q: Float[Tensor, "batch time groups key"]
    k: Float[Tensor, "batch time groups key"]
    v: Float[Tensor, "batch time heads value"]
    log_decay: Float[Tensor, "batch time heads key_or_one"]
    rate: Float[Tensor, "heads key"] | None = None
    write: Float[Tensor, "batch time heads"] | None = None

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.v.shape[2]


RecurrentForm: TypeAlias = ScalarDecay | DiagonalDecay
Form: TypeAlias = Softmax | ScalarDecay | DiagonalDecay
