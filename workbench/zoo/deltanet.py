"""The delta rule (Yang et al. 2024, arXiv:2406.06484): what a key brought back is taken away before it is written."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.forms import Delta
from workbench.memory import Memory
from workbench.mixing import Values
from workbench.zoo.config import ZooConfig
from workbench.zoo.linear_attention import LinearAttention
from workbench.zoo.registry import register

NORM_EPS = 1e-6  # below the squared length of a query or key, as in the published models


class DeltaRule(LinearAttention):
    """``S_t = D_t S_{t-1} + b_t k_t (v_t - (D_t S_{t-1})' k_t)'``, ``o = S' q / sqrt(K)``, q and k of length one.

    Subclasses say what the decay ``D_t`` is. Options besides `LinearAttention`'s: ``double_beta``, whether the writing
    strength b reaches from 0 to 2 instead of 1, so that a transition may have negative eigenvalues (Grazzi et al. 2024,
    arXiv:2411.12537).
    """

    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v", "log_decay", "write")
    active: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = {**LinearAttention.defaults, "short_conv": True, "double_beta": False}

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.b_proj = nn.Linear(config.d_model, self.n_heads, bias=False)

    def log_decay(
        self, hidden: Float[Tensor, "batch time model"], q: Float[Tensor, "batch time heads key"]
    ) -> Float[Tensor, "batch time heads key_or_one"]:
        """The logarithm of the decay; none at all, unless a subclass has one."""
        return q.new_zeros(()).expand(*q.shape[:3], 1)

    def form(
        self,
        hidden: Float[Tensor, "batch time model"],
        q: Float[Tensor, "batch time heads key"],
        k: Float[Tensor, "batch time heads key"],
        v: Values,
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None,
    ) -> Delta:
        write = self.b_proj(hidden).to(q.dtype).sigmoid() * (2 if self.options["double_beta"] else 1)
        log_decay = self.log_decay(hidden, q)
        if mask is not None:
            write, log_decay = write * mask, log_decay * mask[..., None]
        return Delta(unit(q) * self.d_key**-0.5, unit(k), v, log_decay, write=write)


def unit(x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
    """Scaled to length one, but for `NORM_EPS`; zeros stay zeros."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + NORM_EPS)


@register("deltanet")
class DeltaNet(DeltaRule):
    """The delta rule without a decay: what is written stays until something is written over it.

    Sections 2.2 and 3.3 of the paper; an output gate is an option that the paper's models do without.
    """

    family: ClassVar[str] = "deltanet"
    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v", "write")
    defaults: ClassVar[dict[str, Any]] = {**DeltaRule.defaults, "output_gate": False}
