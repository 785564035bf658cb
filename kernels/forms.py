"""The canonical forms: what every token mixer is reduced to before anything is computed.

Notation, for one head: query `q_t` and key `k_t` in R^K, value `v_t` in R^V, state `S_t` in R^(K x V), natural-log
decay at most 0. A recurrent form means

    S_t = M_t S_{t-1} + w_t k_t v_t'        o_t = r_t S_t' q_t        A[t, s] = r_t w_s q_t' (M_t ... M_{s+1}) k_s

and every form means ``o = A v``, with `A` a causal ``[time, source]`` matrix per head that its value channels share.
`w` (`write`) and `r` (`read`) are 1 unless a family has them: `read` is where a normaliser goes, one over it. With
`diagonal` the reading is exclusive (RWKV): row `t` reads the state as step ``t - 1`` left it, before the decay of step
`t`, and ``A[t, t]`` is `diagonal` itself (the bonus of the current token; `read` does not multiply it).
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

    @property
    def batch(self) -> int:
        """Sequences in the batch."""
        return self.q.shape[0]

    @property
    def time(self) -> int:
        """Number of queries, the rows of A."""
        return self.q.shape[1]

    @property
    def source(self) -> int:
        """Number of keys, the columns of A."""
        return self.k.shape[1]


class _Recurrent:
    """Shapes of a form with a value a step: every step is a row and a column of A."""

    v: Tensor

    def __post_init__(self) -> None:
        """Refuse operands that lie on different devices.

        Raises:
            ValueError: names two of them.
        """
        for name, operand in vars(self).items():
            if isinstance(operand, Tensor) and operand.device != self.v.device:
                raise ValueError(
                    f"the operands of a form have to be on one device: v is on {self.v.device}, {name} on "
                    f"{operand.device}"
                )

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.v.shape[2]

    @property
    def batch(self) -> int:
        """Sequences in the batch."""
        return self.v.shape[0]

    @property
    def time(self) -> int:
        """Number of steps, the rows of A."""
        return self.v.shape[1]

    @property
    def source(self) -> int:
        """Number of steps again, the columns of A."""
        return self.v.shape[1]


@dataclass(frozen=True)
class ScalarDecay(_Recurrent):
    """``M_t = exp(log_decay_t) I``: Mamba-2 (SSD), RetNet, Lightning attention, linear attention.

    Attributes:
        write: `w` above, the strength with which a source is written (Mamba-2's time step); None means 1.
        read: `r` above (one over mLSTM's normaliser); None means 1.
        diagonal: ``A[t, t]`` of an exclusive reader; None for the usual, inclusive reading.
    """

    q: Float[Tensor, "batch time groups key"]
    k: Float[Tensor, "batch time groups key"]
    v: Float[Tensor, "batch time heads value"]
    log_decay: Float[Tensor, "batch time heads"]
    write: Float[Tensor, "batch time heads"] | None = None
    read: Float[Tensor, "batch time heads"] | None = None
    diagonal: Float[Tensor, "batch time heads"] | None = None


@dataclass(frozen=True)
class DiagonalDecay(_Recurrent):
    """``M_t = diag(exp(log_decay_t * rate))``: GLA, HGRN2; Mamba-1 with one head a channel, K = state size, V = 1.

    Attributes:
        log_decay: full, ``[batch, time, heads, key]``; or, when `rate` is given, ``[batch, time, heads, 1]``, so that
            Mamba-1 stores its time step once a channel and not once a state dimension.
        rate: non-negative factor a head and key dimension, or None.
        write: `w` above (Mamba-1's time step); None means 1.
        read: `r` above (one over RWKV-4's normaliser); None means 1.
        diagonal: ``A[t, t]`` of an exclusive reader (RWKV-4, 5, 6); None for the usual, inclusive reading.
    """

    q: Float[Tensor, "batch time groups key"]
    k: Float[Tensor, "batch time groups key"]
    v: Float[Tensor, "batch time heads value"]
    log_decay: Float[Tensor, "batch time heads key_or_one"]
    rate: Float[Tensor, "heads key"] | None = None
    write: Float[Tensor, "batch time heads"] | None = None
    read: Float[Tensor, "batch time heads"] | None = None
    diagonal: Float[Tensor, "batch time heads"] | None = None


@dataclass(frozen=True)
class Delta(_Recurrent):
    """``M_t = (I - e_t p_t') diag(exp(log_decay_t))``: diagonal plus rank one.

    DeltaNet, Gated DeltaNet and KDA erase what they are about to write, ``p = k`` and ``e = w k`` (the defaults), which
    is ``S_t = D_t S_{t-1} + w_t k_t (v_t - S_{t-1}' D_t k_t)'``. RWKV-7 has directions of its own; its probe looks at
    the state before the decay, which is `p` divided by the decay.

    Attributes:
        log_decay: ``[batch, time, heads, key]``, or ``[batch, time, heads, 1]`` for one decay a head.
        probe: `p` above, the direction in which the decayed state is looked at; None means `k`.
        erase: `e` above, the direction along which what was found is taken away; None means ``write * k``.
        write: `w` above (the delta rule's beta); None means 1.
        read, diagonal: as for the decays.
    """

    q: Float[Tensor, "batch time groups key"]
    k: Float[Tensor, "batch time groups key"]
    v: Float[Tensor, "batch time heads value"]
    log_decay: Float[Tensor, "batch time heads key_or_one"]
    probe: Float[Tensor, "batch time probes key"] | None = None
    erase: Float[Tensor, "batch time erases key"] | None = None
    write: Float[Tensor, "batch time heads"] | None = None
    read: Float[Tensor, "batch time heads"] | None = None
    diagonal: Float[Tensor, "batch time heads"] | None = None


@dataclass(frozen=True)
class Toeplitz(_Recurrent):
    """``A[t, s] = kernel[t - s]``, whatever the input: S4's convolution, short convolutions (LFM2).

    The state is the shift register of a finite filter, the last ``lags - 1`` values ``[batch, heads, lags - 1, value]``
    with the latest one first.

    Attributes:
        kernel: weight of the value `lag` steps back, the current one first.
    """

    v: Float[Tensor, "batch time heads value"]
    kernel: Float[Tensor, "heads lags"]


Reader: TypeAlias = ScalarDecay | DiagonalDecay | Delta
RecurrentForm: TypeAlias = ScalarDecay | DiagonalDecay | Delta | Toeplitz
Form: TypeAlias = Softmax | ScalarDecay | DiagonalDecay | Delta | Toeplitz
