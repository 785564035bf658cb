"""Gated DeltaNet (Yang et al. 2024, arXiv:2412.06464): the delta rule with Mamba-2's decay, one a head."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.zoo.config import ZooConfig
from workbench.zoo.deltanet import DeltaRule
from workbench.zoo.mamba import inverse_softplus_of_log_uniform
from workbench.zoo.registry import register


@register("gated_delta")
class GatedDelta(DeltaRule):
    """The delta rule with ``D_t = exp(-exp(A_log) softplus(a_proj(x_t) + dt_bias)) I``.

    Equation 10 and section 3.4 of the paper; queries, keys and values go through short convolutions, and a SiLU gate
    and a norm a head follow. Options besides `DeltaRule`'s: ``dt_min`` (0.001) and ``dt_max`` (0.1), between which the
    time steps start.
    """

    family: ClassVar[str] = "gated_delta"
    defaults: ClassVar[dict[str, Any]] = {**DeltaRule.defaults, "expand_v": 2.0, "dt_min": 1e-3, "dt_max": 0.1}

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.a_proj = nn.Linear(config.d_model, self.n_heads, bias=False)
        self.A_log = nn.Parameter(torch.empty(self.n_heads))
        self.dt_bias = nn.Parameter(torch.empty(self.n_heads))
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """As `LinearAttention.initialise`; decay rates uniform in 0..16 and time steps log-uniform, as in Mamba-2."""
        self.A_log.copy_(torch.empty(self.n_heads).uniform_(1e-3, 16).log())
        self.dt_bias.copy_(
            inverse_softplus_of_log_uniform(self.n_heads, self.options["dt_min"], self.options["dt_max"])
        )
        super().initialise()

    def forget_slowly(self) -> None:
        """Decay rates that with the first time steps give time constants of 100 to 1000 tokens."""
        lasting = torch.logspace(2, 3, self.n_heads)
        self.A_log.copy_(-(lasting * F.softplus(self.dt_bias)).log())

    def log_decay(
        self, hidden: Float[Tensor, "batch time model"], q: Float[Tensor, "batch time heads key"]
    ) -> Float[Tensor, "batch time heads 1"]:
        step = F.softplus(self.a_proj(hidden).to(q.dtype) + self.dt_bias.to(q.dtype))
        return (-self.A_log.to(q.dtype).exp() * step)[..., None]
