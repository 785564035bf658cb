"""Gated linear attention (Yang et al. 2023, arXiv:2312.06635): a decay of its own for every key channel."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.forms import DiagonalDecay
from workbench.memory import Memory
from workbench.mixing import Values
from workbench.zoo.config import ZooConfig
from workbench.zoo.linear_attention import LinearAttention
from workbench.zoo.registry import register


@register("gla")
class GLA(LinearAttention):
    """``S_t = diag(a_t) S_{t-1} + k_t v_t'``, ``o_t = S_t' q_t / sqrt(K)``, ``a = sigmoid(low-rank(x))^(1/16)``.

    Section 4.4 of the paper; its SiLU gate and its norm a head are `LinearAttention`'s. Options besides those:
    ``gate_rank`` (16) of the decay's projection, ``gate_normaliser`` (16), the root that is taken of the decay.
    """

    family: ClassVar[str] = "gla"
    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v", "log_decay")
    per_channel_decay: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = {
        **LinearAttention.defaults,
        "expand_k": 0.5,
        "gate_rank": 16,
        "gate_normaliser": 16,
    }

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        rank = self.options["gate_rank"]
        self.gk_proj = nn.Sequential(
            nn.Linear(config.d_model, rank, bias=False), nn.Linear(rank, self.n_heads * self.d_key)
        )

    def forget_slowly(self) -> None:
        """Time constants of 100 to 1000 tokens, instead of the reference's 23."""
        lasting = torch.logspace(2, 3, self.d_key).repeat(self.n_heads)
        self.gk_proj.get_parameter("1.bias").copy_(-torch.expm1(self.options["gate_normaliser"] / lasting).log())

    def form(
        self,
        hidden: Float[Tensor, "batch time model"],
        q: Float[Tensor, "batch time heads key"],
        k: Float[Tensor, "batch time heads key"],
        v: Values,
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None,
    ) -> DiagonalDecay:
        log_decay = F.logsigmoid(self.heads(self.gk_proj(hidden))) / self.options["gate_normaliser"]
        if mask is not None:
            log_decay = log_decay * mask[..., None]
        return DiagonalDecay(q * self.d_key**-0.5, k, v, log_decay)
