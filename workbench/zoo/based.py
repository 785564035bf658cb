"""Based (Arora et al. 2024, arXiv:2402.18668): linear attention through the exponential's Taylor series."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench import kernels
from workbench.errors import InputError
from workbench.forms import ScalarDecay
from workbench.memory import Memory
from workbench.mixing import Inlet
from workbench.zoo.config import ZooConfig
from workbench.zoo.mixer import Mixer
from workbench.zoo.registry import register


def taylor_features(x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch features"]:
    """Features with ``f(q) . f(k) = 1 + s + s^2 / 2``, ``s = q . k / sqrt(size)``.

    The paper's ``1 + size + size^2`` features hold every product of two entries twice; each pair is kept once here,
    with sqrt(2) times its weight, which leaves ``1 + size + size (size + 1) / 2`` and the same products.
    """
    size = x.shape[-1]
    first, second = torch.triu_indices(size, size, device=x.device)
    weight = x.new_full(first.shape, size**-0.5).masked_fill(first == second, (2 * size) ** -0.5)
    return torch.cat([torch.ones_like(x[..., :1]), x * size**-0.25, x[..., first] * x[..., second] * weight], dim=-1)


@register("based")
class Based(Mixer):
    """``z_t = S_t' f(q_t) / (f(q_t) . n_t + eps)``, ``S_t = S_{t-1} + f(k_t) v_t'``, ``n_t = n_{t-1} + f(k_t)``.

    Nothing is forgotten, and the weights of a row are positive and add up to 1. The paper's models alternate this mixer
    with attention through a short window: ``ZooConfig(["based", "attention"], mixer_options={"based": ..., "attention":
    {"window": 64}})``. ``hook_read`` is one over the normaliser, which an edit of queries or keys leaves as it was.

    Options: ``n_heads`` (4), ``feature_dim`` (16, of queries and keys in each head, before the feature map), ``eps``
    (1e-12).

    Raises:
        InputError: an option is unknown, or the heads do not divide d_model.
    """

    family = "based"
    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v", "read")
    gated = False
    defaults: ClassVar[dict[str, Any]] = {"n_heads": 4, "feature_dim": 16, "eps": 1e-12}

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__()
        self.options = {**self.defaults, **config.mixer_options}
        unknown = sorted(set(self.options) - set(self.defaults))
        if unknown:
            raise InputError(f"based has no option {unknown[0]!r}; it has {', '.join(sorted(self.defaults))}.")
        self.n_heads = self.options["n_heads"]
        if config.d_model % self.n_heads:
            raise InputError(f"{self.n_heads} heads do not divide {config.d_model} value channels.")
        self.d_value = config.d_model // self.n_heads
        keys = self.n_heads * self.options["feature_dim"]
        self.q_proj = nn.Linear(config.d_model, keys, bias=False)
        self.k_proj = nn.Linear(config.d_model, keys, bias=False)
        self.v_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        self.o_proj = nn.Linear(config.d_model, config.d_model, bias=False)

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        q, k, v = (
            projection(hidden).to(wide).unflatten(-1, (self.n_heads, -1))
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        with torch.autocast(hidden.device.type, enabled=False):  # sums over many tokens are not for bfloat16
            q, k = taylor_features(q), taylor_features(k)
            if mask is not None:  # a pad's first feature would be 1
                k, v = k * mask[..., None], v * mask[..., None]
            form = ScalarDecay(q, k, v, log_decay=v.new_zeros(()).expand(v.shape[:3]))
            counted = replace(form, v=torch.ones_like(v[..., :1]))
            weight, normaliser = kernels.forward(counted, memory.get("normaliser"))
            assert normaliser is not None  # only softmax has no state
            memory.set("normaliser", normaliser)
            return Inlet(replace(form, read=1 / (weight[..., 0] + self.options["eps"])))
