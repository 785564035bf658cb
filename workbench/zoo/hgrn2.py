"""HGRN2 (Qin et al. 2024, arXiv:2404.07904): gated linear attention whose key is what the decay leaves free."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.forms import DiagonalDecay
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, Values
from workbench.zoo.config import ZooConfig
from workbench.zoo.linear_attention import MIMETIC, LinearAttention
from workbench.zoo.registry import register


@register("hgrn2")
class HGRN2(LinearAttention):
    """``S_t = diag(f_t) S_{t-1} + (1 - f_t) i_t'``, ``o_t = S_t' silu(q_t) / sqrt(K)``, ``f = b + (1 - b) sigmoid(.)``.

    Equations 5 to 8 of the paper, scaled as in the published models. The lower bound b of the forget gate grows with
    depth, and the first layer has none. The paper makes it the running sum of a softmax over the layers; here each
    later layer has a bound of its own, ``sigmoid(lower_bound)``, that starts where the sum of equal shares does, at
    layer / layers. The norm is over all heads at once. Options besides `LinearAttention`'s: ``lower_bound``, whether
    there is one.
    """

    family: ClassVar[str] = "hgrn2"
    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v", "log_decay")
    per_channel_decay: ClassVar[bool] = True
    projections: ClassVar[tuple[str, str, str]] = ("q", "f", "i")
    conv_activation: ClassVar[str] = "linear"
    defaults: ClassVar[dict[str, Any]] = {**LinearAttention.defaults, "output_gate": False, "lower_bound": True}

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        if self.options["norm_weight"]:
            self.o_norm = nn.Parameter(torch.ones(self.n_heads * self.d_value))
        self.bounded = self.options["lower_bound"] and layer > 0
        if self.bounded:
            share = torch.full((self.n_heads * self.d_key,), layer / config.n_layers)
            self.lower_bound = nn.Parameter(share.logit())

    @torch.no_grad()
    def initialise(self) -> None:
        """As `LinearAttention.initialise`, but for the sign: a key is large where its projection is negative."""
        super().initialise()
        if self.options["initialisation"] == MIMETIC:
            self.get_submodule("q_proj").get_parameter("weight").neg_()

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
        log_decay, key = F.logsigmoid(k), (-k).sigmoid()
        if self.bounded:
            bound = self.lower_bound.to(k.dtype).view(self.n_heads, -1)
            log_decay = torch.logaddexp(F.logsigmoid(bound), F.logsigmoid(-bound) + log_decay)
            key = (-bound).sigmoid() * key
        if mask is not None:
            log_decay, key = log_decay * mask[..., None], key * mask[..., None]
        return DiagonalDecay(F.silu(q) * self.d_key**-0.5, key, v, log_decay)

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        scale = mixing.inverse_rms(z.flatten(2), self.norm_eps)[..., None]
        if not self.options["norm_weight"]:
            return Outlet(scale=scale.expand_as(z))
        return Outlet(scale=scale * self.o_norm.to(z.dtype).view(self.n_heads, -1))
