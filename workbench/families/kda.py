"""Kimi Delta Attention (Kimi Linear, 2025, arXiv:2510.26692) in transformers: the delta rule, a decay a key channel.

    S_t = (I - b_t k_t k_t') D_t S_{t-1} + b_t k_t v_t'        D_t = diag(exp(-exp(A_log_h) softplus(step_t + dt_bias)))

(equation 1 and section 4). The step and the sigmoid gate come from projections of low rank.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from workbench.families.base import register
from workbench.families.gated_delta import DeltaRuleAdapter, Projected


@register
class KimiLinearAdapter(DeltaRuleAdapter):
    """Kimi-Linear's recurrent layers; as many key heads as value heads, and keys as wide as values."""

    family: str = "kimi_linear"
    mixer_classes: ClassVar[tuple[str, ...]] = ("KimiLinearDeltaAttention",)
    log_decay_axes: tuple[str, ...] = ("batch", "time", "head", "key")
    norm: ClassVar[str] = "o_norm"
    output: ClassVar[str] = "o_proj"
    gate_activation: ClassVar[str] = "sigmoid"

    @property
    def n_heads(self) -> int:
        """Heads."""
        return self.parameter("forget_gate.A_log").numel()

    @property
    def d_key(self) -> int:
        """Key channels a head."""
        return self.d_value

    def projected(self, hidden: Float[Tensor, "batch time model"]) -> Projected:
        return Projected(
            qkv=torch.cat([self.submodule(f"{part}_proj")(hidden) for part in "qkv"], dim=-1),
            gate=self.submodule("g_b_proj")(self.submodule("g_a_proj")(hidden)),
            write=self.submodule("b_proj")(hidden),
            step=self.submodule("forget_gate.f_b_proj")(self.submodule("forget_gate.f_a_proj")(hidden)),
        )

    def log_decay(self, step: Float[Tensor, "batch time steps"]) -> Float[Tensor, "batch time heads key"]:
        rate = self.parameter("forget_gate.A_log").to(step.dtype).exp().view(-1, 1)
        steps: Tensor = F.softplus(step + self.parameter("forget_gate.dt_bias").to(step.dtype))
        return -rate * steps.view(*steps.shape[:2], self.n_heads, -1)
