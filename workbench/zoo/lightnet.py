"""LightNet (Qin et al. 2024, arXiv:2405.21022): a decay that keeps every key channel a running average."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.errors import InputError
from workbench.forms import DiagonalDecay
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, Values
from workbench.zoo.config import ZooConfig
from workbench.zoo.mixer import Mixer
from workbench.zoo.registry import register

EMPTY = -1e30  # the logarithm of a sum over no token, such that adding to it is exact


def running_share(
    logits: Float[Tensor, "batch time heads key"],
    mask: Float[Tensor, "batch time 1"] | None,
    memory: Memory,
) -> tuple[Float[Tensor, "batch time heads key"], Float[Tensor, "batch time heads key"]]:
    """Each token's share of ``sum_{s <= t} exp(logits_s)`` and the logarithm of what it leaves to the others.

    ``share_t = exp(g_t - z_t)`` and ``log_decay_t = z_{t-1} - z_t`` with ``z_t = logsumexp(g_1 .. g_t)``: share and
    decay add up to 1, which is the paper's additive decay. `memory` carries ``total``, the last z, in float64.
    """
    total = memory.get("total")
    wide = logits.double()
    if mask is not None:
        wide = torch.where(mask[..., None] > 0, wide, EMPTY)
    before = torch.full_like(wide[:, :1], EMPTY) if total is None else total.double()[:, None]
    sums = torch.cat([before, wide], dim=1).logcumsumexp(1)
    memory.set("total", sums[:, -1])
    # Before its first token a row's state is zero, whatever it is multiplied by.
    log_decay = torch.where(sums[:, :-1] > EMPTY / 2, sums[:, :-1] - sums[:, 1:], 0.0).clamp(max=0.0)
    share = (wide - sums[:, 1:]).exp()
    if mask is not None:
        share = share * mask[..., None]
    return share.to(logits.dtype), log_decay.to(logits.dtype)


@register("lightnet")
class LightNet(Mixer):
    """``S_t = diag(1 - w_t) S_{t-1} + w_t v_t'``, ``z_t = S_t' silu(q_t)``, w the running softmax of the keys.

    A channel of the state is an average of all values so far, weighted by ``exp(k)``, ``k = k_proj(x)``;
    a root-mean-square norm over all channels and a SiLU gate of low rank follow.

    Options: ``n_heads`` (1), ``expand_k`` (1.0, the width of keys over d_model), ``gate_rank`` (16).

    Raises:
        InputError: an option is unknown, or the heads do not divide a width.
    """

    family = "lightnet"
    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v", "log_decay")
    per_channel_decay: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = {"n_heads": 1, "expand_k": 1.0, "gate_rank": 16}

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__()
        self.options = {**self.defaults, **config.mixer_options}
        unknown = sorted(set(self.options) - set(self.defaults))
        if unknown:
            raise InputError(f"lightnet has no option {unknown[0]!r}; it has {', '.join(sorted(self.defaults))}.")
        self.n_heads = self.options["n_heads"]
        keys = int(config.d_model * self.options["expand_k"])
        if keys % self.n_heads or config.d_model % self.n_heads:
            raise InputError(f"{self.n_heads} heads do not divide {keys} key and {config.d_model} value channels.")
        self.d_value = config.d_model // self.n_heads
        self.eps = config.norm_eps
        rank = self.options["gate_rank"]
        self.q_proj = nn.Linear(config.d_model, keys, bias=False)
        self.k_proj = nn.Linear(config.d_model, keys, bias=False)
        self.v_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        self.g_proj = nn.Sequential(
            nn.Linear(config.d_model, rank, bias=False), nn.Linear(rank, config.d_model, bias=False)
        )
        self.g_norm = nn.Parameter(torch.ones(config.d_model))
        self.o_proj = nn.Linear(config.d_model, config.d_model, bias=False)

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        q, k, v, gate = (
            projection(hidden).to(wide).unflatten(-1, (self.n_heads, -1))
            for projection in (self.q_proj, self.k_proj, self.v_proj, self.g_proj)
        )
        with torch.autocast(hidden.device.type, enabled=False):  # sums over many tokens are not for bfloat16
            share, log_decay = running_share(k, mask, memory)
        if mask is not None:
            v = v * mask[..., None]
        return Inlet(DiagonalDecay(F.silu(q), share, v, log_decay), gate=F.silu(gate))

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        inverse = mixing.inverse_rms(z.flatten(2), self.eps)[..., None]
        return Outlet(scale=inverse * self.g_norm.to(z.dtype).unflatten(0, (self.n_heads, -1)))
