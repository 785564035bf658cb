"""Mamba (Gu and Dao 2023, arXiv:2312.00752): the selective state-space mixer, with the reference's parameters."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.kernels.native.selective_scan import selective_scan
from workbench.zoo.cache import LayerCache
from workbench.zoo.config import ZooConfig
from workbench.zoo.convolution import causal_convolution
from workbench.zoo.initialisation import initialise_state_space
from workbench.zoo.registry import register


@register("mamba")
class Mamba(nn.Module):
    """``in_proj`` to (x, gate); convolution and SiLU on x; selective scan; skip ``D``; gate; ``out_proj``.

    Options: ``expand`` (2), ``state_size`` (16), ``conv_kernel`` (4), ``dt_rank`` (d_model / 16), ``dt_min`` (0.001),
    ``dt_max`` (0.1), ``initialisation``: ``"reference"`` (Mamba's own, S4D-real) or ``"mimetic"`` (Trockman et al.
    2024, arXiv:2410.11135: a slow decay, the rows of ``x_proj`` for B and C tied at the start, an identity-like
    convolution).
    """

    def __init__(self, config: ZooConfig, layer: int):
        super().__init__()
        options = config.mixer_options
        self.layer = layer
        self.options = options
        self.d_inner = options.get("expand", 2) * config.d_model
        self.state_size = options.get("state_size", 16)
        self.dt_rank = options.get("dt_rank", math.ceil(config.d_model / 16))
        taps = options.get("conv_kernel", 4)
        self.in_proj = nn.Linear(config.d_model, 2 * self.d_inner, bias=False)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, taps, groups=self.d_inner)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * self.state_size, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.empty(self.d_inner, self.state_size))
        self.D = nn.Parameter(torch.empty(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, config.d_model, bias=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Mamba's published initialisation, then the mimetic changes if the options ask for them."""
        self.A_log.copy_(torch.arange(1, self.state_size + 1).float().log().expand_as(self.A_log))
        self.D.fill_(1.0)
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        self.dt_proj.bias.copy_(
            inverse_softplus_of_log_uniform(
                self.d_inner, self.options.get("dt_min", 1e-3), self.options.get("dt_max", 0.1)
            )
        )
        initialise_state_space(
            (self.in_proj, self.x_proj, self.out_proj),
            self.conv1d,
            self.A_log,
            self.x_proj.weight[self.dt_rank :],
            self.options,
        )

    def forward(
        self,
        hidden_states: Float[Tensor, "batch time model"],
        attention_mask: Bool[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "_ time"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch time model"]:
        mask = padding(attention_mask, hidden_states)
        x, gate = self.in_proj(hidden_states if mask is None else hidden_states * mask).chunk(2, dim=-1)
        x = causal_convolution(x, self.conv1d, cache)
        x = x if mask is None else x * mask
        dt, b, c = self.x_proj(x).split([self.dt_rank, self.state_size, self.state_size], dim=-1)
        y, state = selective_scan(
            x.float(),
            F.softplus(self.dt_proj(dt).float()),
            self.A_log.float().exp(),
            b.float(),
            c.float(),
            None if cache is None else cache.get("state"),
        )
        if cache is not None:
            cache["state"] = state
        y = (y + x * self.D) * F.silu(gate)
        output: Tensor = self.out_proj(y.to(hidden_states.dtype))
        return output


def padding(
    attention_mask: Bool[Tensor, "batch source"] | None, x: Float[Tensor, "batch time model"]
) -> Float[Tensor, "batch time 1"] | None:
    """The mask's columns for the tokens at hand (while decoding it spans the past too), in the dtype of ``x``."""
    return None if attention_mask is None else attention_mask[:, -x.shape[1] :, None].to(x.dtype)


def inverse_softplus_of_log_uniform(size: int, low: float, high: float) -> Float[Tensor, " size"]:
    """A bias whose softplus is log-uniform in ``[low, high]``: how Mamba draws its time steps."""
    dt = torch.exp(torch.rand(size) * (math.log(high) - math.log(low)) + math.log(low)).clamp(min=1e-4)
    return dt + torch.log(-torch.expm1(-dt))
