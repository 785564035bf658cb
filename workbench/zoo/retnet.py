"""RetNet's multi-scale retention (Sun et al. 2023, arXiv:2307.08621): one fixed decay a head, rotary positions."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.forms import ScalarDecay
from workbench.memory import Memory
from workbench.mixing import Values
from workbench.zoo.config import ZooConfig
from workbench.zoo.linear_attention import LinearAttention
from workbench.zoo.registry import register


@register("retnet")
class RetNet(LinearAttention):
    """``A[t, s] = (rotated q_t . rotated k_s) gamma_h^(t - s) / sqrt(K)`` with ``gamma_h = 1 - 2^(-5 - h)``.

    Equations 6 to 8 of the paper. Head h forgets with a time constant of about ``2^(5 + h)`` tokens. Options besides
    `LinearAttention`'s: ``rope_theta`` (10000).
    """

    family: ClassVar[str] = "retnet"
    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v", "log_decay")
    defaults: ClassVar[dict[str, Any]] = {**LinearAttention.defaults, "expand_v": 2.0, "rope_theta": 10_000.0}

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        if self.d_key % 2:
            raise InputError(f"Rotary positions turn pairs of key channels; {self.d_key} a head cannot be paired.")

    def form(
        self,
        hidden: Float[Tensor, "batch time model"],
        q: Float[Tensor, "batch time heads key"],
        k: Float[Tensor, "batch time heads key"],
        v: Values,
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None,
    ) -> ScalarDecay:
        if positions is None:
            positions = _counted(hidden, memory)
        theta = self.options["rope_theta"]
        q, k = rotated(q, positions, theta), rotated(k, positions, theta)
        heads = torch.arange(self.n_heads, device=q.device, dtype=torch.float64)
        log_decay = torch.log1p(-torch.exp2(-5 - heads)).to(q.dtype).expand(*q.shape[:3])
        if mask is not None:
            log_decay = log_decay * mask
        return ScalarDecay(q * self.d_key**-0.5, k, v, log_decay)


def rotated(
    x: Float[Tensor, "batch time heads key"], positions: Int[Tensor, "_ time"], theta: float
) -> Float[Tensor, "batch time heads key"]:
    """Each pair ``(x[i], x[i + K/2])`` turned by ``position theta^(-2i/K)`` (Su et al. 2021, arXiv:2104.09864, eq. 34).

    The angles are computed in float64: at position 10,000 float32 would leave three digits of the fastest one.
    """
    size = x.shape[-1]
    frequency = theta ** (-torch.arange(0, size, 2, device=x.device, dtype=torch.float64) / size)
    angle = positions[..., None, None].double() * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    low, high = x.chunk(2, dim=-1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)


def _counted(hidden: Float[Tensor, "batch time model"], memory: Memory) -> Int[Tensor, "batch time"]:
    """Positions for a caller that gives none: counted on from the call before."""
    batch, time, _ = hidden.shape
    seen = memory.get("seen")
    start = torch.zeros(batch, dtype=torch.long, device=hidden.device) if seen is None else seen
    memory.set("seen", start + time)
    return start[:, None] + torch.arange(time, device=hidden.device)
