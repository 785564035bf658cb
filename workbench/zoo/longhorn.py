"""Longhorn (Liu et al. 2024, arXiv:2407.14207): a state-space model as the closed form of online regression."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.errors import InputError
from workbench.forms import Delta, DiagonalDecay
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, Values
from workbench.zoo.config import ZooConfig
from workbench.zoo.mixer import Mixer
from workbench.zoo.registry import register

DIAGONAL, FULL = "diagonal", "full"


@register("longhorn")
class Longhorn(Mixer):
    """Mamba's block around another recurrence, one head a channel; k and q are shared by the channels.

    Each channel regresses its input x on the key, ``min_s |s - s_{t-1}|^2 + beta_t (s . k_t - x_t)^2`` with ``beta =
    sigmoid(dt_proj)``, whose solution is (theorem 3.1)

        s_t = (I - e_t k_t k_t') s_{t-1} + e_t k_t x_t     e_t = beta_t / (1 + beta_t k_t . k_t)     z_t = s_t . q_t

    The released models keep the diagonal of ``k k'`` alone: ``s_t = (1 - e_t k_t^2) s_{t-1} + e_t k_t
    x_t``. A skip ``D`` and a SiLU gate follow.

    Options: ``transition``, ``"diagonal"`` or ``"full"``; ``expand`` (2), ``state_size`` (16), ``conv_kernel`` (4),
    ``dt_rank`` (d_model / 16).

    Raises:
        InputError: an option is unknown, or the transition is neither.
    """

    family = "longhorn"
    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v", "log_decay", "write")
    per_channel_decay: ClassVar[bool] = True
    output: ClassVar[str] = "out_proj"
    d_value = 1
    defaults: ClassVar[dict[str, Any]] = {
        "transition": DIAGONAL,
        "expand": 2,
        "state_size": 16,
        "conv_kernel": 4,
        "dt_rank": None,
    }

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__()
        self.options = {**self.defaults, **config.mixer_options}
        unknown = sorted(set(self.options) - set(self.defaults))
        if unknown:
            raise InputError(f"longhorn has no option {unknown[0]!r}; it has {', '.join(sorted(self.defaults))}.")
        self.full = self.options["transition"] == FULL
        if not self.full and self.options["transition"] != DIAGONAL:
            raise InputError(f"The transition {self.options['transition']!r} is neither {DIAGONAL!r} nor {FULL!r}.")
        if self.full:
            self.operands = ("q", "k", "v", "write")  # type: ignore[misc]  # nothing decays by itself
        self.n_heads = inner = self.options["expand"] * config.d_model
        self.state_size, taps = self.options["state_size"], self.options["conv_kernel"]
        self.rank = self.options["dt_rank"] or math.ceil(config.d_model / 16)
        self.in_proj = nn.Linear(config.d_model, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, taps, groups=inner)
        self.x_proj = nn.Linear(inner, self.rank + 2 * self.state_size, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, config.d_model, bias=False)

    @torch.no_grad()
    def initialise(self) -> None:
        """Projections, convolution and strengths as torch draws them, where the published models start, too."""
        for part in (self.in_proj, self.conv1d, self.x_proj, self.dt_proj, self.out_proj):
            part.reset_parameters()

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        both: Tensor = self.in_proj(hidden if mask is None else hidden * mask)
        weight, bias = self.conv1d.weight[:, 0], self.conv1d.bias
        conv = mixing.short_convolution(both[..., : self.n_heads], weight, bias, "silu", mask, memory)
        gate = F.silu(both[..., self.n_heads :].to(conv.active.dtype))[..., None]
        selected = self.x_proj(conv.active.to(self.x_proj.weight.dtype))
        # Slices, not split(): an in-place edit by a hook is refused on the several views that split() returns.
        beta = self.dt_proj(selected[..., : self.rank]).to(gate.dtype).sigmoid()
        k = selected[..., self.rank : self.rank + self.state_size].to(gate.dtype)[:, :, None]
        q = selected[..., self.rank + self.state_size :].to(gate.dtype)[:, :, None]
        with torch.autocast(hidden.device.type, enabled=False):  # products of many decays are not for bfloat16
            form = self._form(q, k, conv.active[..., None], beta if mask is None else beta * mask)
        return Inlet(form, gate, conv.path(slice(None), self.n_heads))

    def _form(
        self,
        q: Float[Tensor, "batch time 1 key"],
        k: Float[Tensor, "batch time 1 key"],
        v: Values,
        beta: Float[Tensor, "batch time heads"],
    ) -> DiagonalDecay | Delta:
        write = beta / (1 + beta * k.square().sum(-1))
        if self.full:
            return Delta(q, k, v, v.new_zeros(()).expand_as(v), write=write)
        return DiagonalDecay(q, k, v, torch.log1p(-write[..., None] * k.square()), write=write)

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        return Outlet(skip=self.D.to(z.dtype)[None, None, :, None])
