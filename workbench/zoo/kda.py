"""Kimi Delta Attention (Kimi Linear, 2025, arXiv:2510.26692): the delta rule with a decay a key channel."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.zoo.config import ZooConfig
from workbench.zoo.deltanet import DeltaRule
from workbench.zoo.registry import register


@register("kda")
class KDA(DeltaRule):
    """The delta rule with ``D_t = diag(exp(-exp(A_log_h) softplus(f_proj(x_t) + dt_bias)))``.

    Equation 1 and section 4 of the report: the projections of the decay and of the sigmoid output gate have low rank
    (the value width of a head).
    """

    family: ClassVar[str] = "kda"
    per_channel_decay: ClassVar[bool] = True
    gate_activation: ClassVar[str] = "sigmoid"
    defaults: ClassVar[dict[str, Any]] = DeltaRule.defaults

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.f_proj = nn.Sequential(
            nn.Linear(config.d_model, self.d_value, bias=False),
            nn.Linear(self.d_value, self.n_heads * self.d_key, bias=False),
        )
        self.A_log = nn.Parameter(torch.empty(self.n_heads))
        self.dt_bias = nn.Parameter(torch.empty(self.n_heads * self.d_key))
        self.initialise()

    def make_gate(self, d_model: int, values: int) -> nn.Module:
        rank = values // self.n_heads
        return nn.Sequential(nn.Linear(d_model, rank, bias=False), nn.Linear(rank, values))

    @torch.no_grad()
    def initialise(self) -> None:
        """As `LinearAttention.initialise`; decay rates uniform in 1..16 and time steps of softplus(0)."""
        self.A_log.copy_(torch.empty(self.n_heads).uniform_(1, 16).log())
        self.dt_bias.zero_()
        super().initialise()

    def forget_slowly(self) -> None:
        """Time constants of 100 to 1000 tokens in each head, by the channels' time steps."""
        step = 1 / (torch.logspace(2, 3, self.d_key) * self.A_log.exp()[:, None])
        self.dt_bias.copy_(step.expm1().log().flatten())

    def log_decay(
        self, hidden: Float[Tensor, "batch time model"], q: Float[Tensor, "batch time heads key"]
    ) -> Float[Tensor, "batch time heads key"]:
        step = F.softplus(self.heads(self.f_proj(hidden)) + self.dt_bias.to(q.dtype).view(self.n_heads, -1))
        return -self.A_log.to(q.dtype).exp()[:, None] * step
