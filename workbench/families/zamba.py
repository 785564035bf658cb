"""Zamba's Mamba (Glorioso et al. 2024, arXiv:2405.16712): several Mamba mixers side by side in one module.

Each of its "Mamba heads" is a block of channels with projections of its own to B, C and the time step; channels of a
block share B and C, which makes the blocks groups of the one diagonal-decay form.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from workbench.families.base import register
from workbench.families.mamba import MambaAdapter
from workbench.forms import DiagonalDecay
from workbench.mixing import Inlet, Outlet, Values


@register
class ZambaAdapter(MambaAdapter):
    """``ZambaMambaMixer`` of transformers. A head here is a channel, as in Mamba; the module's heads are the groups."""

    family: str = "zamba"
    mixer_classes: ClassVar[tuple[str, ...]] = ("ZambaMambaMixer",)
    activation_key: str = "hidden_mamba_act"

    @property
    def n_heads(self) -> int:
        """Channels of all groups."""
        groups, channels, _ = self.parameter("A_log").shape
        return groups * channels

    def halves(
        self, both: Float[Tensor, "batch time double"]
    ) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch time channels"]]:
        paired = both.unflatten(-1, (self.n_heads, 2))
        return paired[..., 0], paired[..., 1]

    def _form(self, active: Float[Tensor, "batch time channels"]) -> DiagonalDecay:
        rate = self.parameter("A_log").to(active.dtype).exp()
        groups, _, states = rate.shape
        select, step = self.parameter("x_proj_weight"), self.parameter("dt_proj_weight")
        grouped = active.to(select.dtype).unflatten(-1, (groups, -1))
        selected = torch.einsum("btgc,gsc->btgs", grouped, select)
        rank = step.shape[-1]
        raw = torch.einsum("btgr,gcr->btgc", selected[..., :rank], step).to(active.dtype)
        dt = F.softplus(raw + self.parameter("dt_proj_bias").to(active.dtype)).flatten(2)
        return DiagonalDecay(
            q=selected[..., rank + states :].to(active.dtype),
            k=selected[..., rank : rank + states].to(active.dtype),
            v=active[..., None],
            log_decay=-dt[..., None],
            rate=rate.flatten(0, 1),
            write=dt,
        )

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        return Outlet(skip=self.parameter("D").to(z.dtype).flatten()[None, None, :, None])

    def to_cache(self, state: Float[Tensor, "batch heads key value"]) -> Float[Tensor, "batch group channel key"]:
        kept: Tensor = state[..., 0].unflatten(1, self.parameter("A_log").shape[:2])
        return kept

    def from_cache(self, state: Float[Tensor, "batch group channel key"]) -> Float[Tensor, "batch heads key value"]:
        return state.flatten(1, 2)[..., None]
