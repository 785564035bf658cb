"""Mamba-2 (Dao and Gu 2024, arXiv:2405.21060): one decay a head, with the reference's parameters."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.zoo.cache import LayerCache
from workbench.zoo.config import ZooConfig
from workbench.zoo.convolution import causal_convolution
from workbench.zoo.initialisation import initialise_state_space
from workbench.zoo.mamba import inverse_softplus_of_log_uniform, padding
from workbench.zoo.registry import register
from workbench.zoo.ssd import chunked_scalar_decay


class GatedRMSNorm(nn.Module):
    """``weight * rmsnorm(x * silu(gate))``, in float32."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(
        self, x: Float[Tensor, "batch time inner"], gate: Float[Tensor, "batch time inner"]
    ) -> Float[Tensor, "batch time inner"]:
        gated = x.float() * F.silu(gate.float())
        return F.rms_norm(gated, self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


@register("mamba2")
class Mamba2(nn.Module):
    """``in_proj`` to (gate, x B C, dt); convolution and SiLU on x, B and C; the scan; ``D``; gated norm; ``out_proj``.

    One group: B and C are shared by all heads. Options: ``expand`` (2), ``head_dim`` (64), ``state_size`` (64),
    ``conv_kernel`` (4), ``dt_min`` (0.001), ``dt_max`` (0.1), ``initialisation``: ``"reference"`` or ``"mimetic"``
    (see ``Mamba``; here the rows of ``in_proj`` for B and C are tied at the start).
    """

    def __init__(self, config: ZooConfig, layer: int):
        super().__init__()
        options = config.mixer_options
        self.layer = layer
        self.options = options
        self.d_inner = options.get("expand", 2) * config.d_model
        self.head_dim = options.get("head_dim", 64)
        self.state_size = options.get("state_size", 64)
        self.n_heads = self.d_inner // self.head_dim
        taps = options.get("conv_kernel", 4)
        mixed = self.d_inner + 2 * self.state_size
        self.in_proj = nn.Linear(config.d_model, self.d_inner + mixed + self.n_heads, bias=False)
        self.conv1d = nn.Conv1d(mixed, mixed, taps, groups=mixed)
        self.dt_bias = nn.Parameter(torch.empty(self.n_heads))
        self.A_log = nn.Parameter(torch.empty(self.n_heads))
        self.D = nn.Parameter(torch.empty(self.n_heads))
        self.norm = GatedRMSNorm(self.d_inner, config.norm_eps)
        self.out_proj = nn.Linear(self.d_inner, config.d_model, bias=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """The reference's initialisation, then the mimetic changes if the options ask for them."""
        self.A_log.copy_(torch.arange(1, self.n_heads + 1).float().log())
        self.D.fill_(1.0)
        self.dt_bias.copy_(
            inverse_softplus_of_log_uniform(
                self.n_heads, self.options.get("dt_min", 1e-3), self.options.get("dt_max", 0.1)
            )
        )
        source_and_read = self.in_proj.weight[2 * self.d_inner :][: 2 * self.state_size]
        initialise_state_space((self.in_proj, self.out_proj), self.conv1d, self.A_log, source_and_read, self.options)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch time model"],
        attention_mask: Bool[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "_ time"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch time model"]:
        batch, time, _ = hidden_states.shape
        mask = padding(attention_mask, hidden_states)
        projected = self.in_proj(hidden_states if mask is None else hidden_states * mask)
        mixed = self.d_inner + 2 * self.state_size
        gate, xbc, dt = projected.split([self.d_inner, mixed, self.n_heads], dim=-1)
        xbc = causal_convolution(xbc, self.conv1d, cache)
        xbc = xbc if mask is None else xbc * mask
        x, b, c = xbc.float().split([self.d_inner, self.state_size, self.state_size], dim=-1)
        x = x.view(batch, time, self.n_heads, self.head_dim)
        dt = F.softplus(dt.float() + self.dt_bias.float())
        with torch.autocast(x.device.type, enabled=False):
            y, state = chunked_scalar_decay(
                x * dt[..., None],
                -self.A_log.float().exp() * dt,
                b,
                c,
                None if cache is None else cache.get("state"),
            )
        if cache is not None:
            cache["state"] = state
        y = y + x * self.D.float()[:, None]
        output: Tensor = self.out_proj(self.norm(y.reshape(batch, time, self.d_inner), gate).to(hidden_states.dtype))
        return output
