"""Mamba (Gu and Dao 2023, arXiv:2312.00752) and FalconMamba: the selective scan, one head a channel.

Per channel d and state dimension n, with the time step dt > 0 and the rate r = exp(A_log) (section 3.2, algorithm 2):

    S_t[n] = exp(-dt_t r[n]) S_{t-1}[n] + dt_t B_t[n] x_t        z_t = sum_n C_t[n] S_t[n]

which is diagonal decay with q = C, k = B (shared by all channels), v = x and write strength dt.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from workbench.families.base import register
from workbench.families.recurrent import RecurrentAdapter
from workbench.forms import DiagonalDecay
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, Values


@register
class MambaAdapter(RecurrentAdapter):
    """Mamba-1 of transformers (``MambaMixer``) and of the zoo (``Mamba``): same parameters, same mathematics.

    One difference from transformers' eager mixer is deliberate: several tokens after a filled cache continue from the
    cached state, as one-token decoding does; transformers starts such a chunk from a zero state.
    """

    family: str = "mamba"
    mixer_classes: ClassVar[tuple[str, ...]] = ("MambaMixer", "Mamba")
    log_decay_axes: tuple[str, ...] = ("batch", "time", "head", "key")
    log_decay_on_request: bool = True

    @property
    def n_heads(self) -> int:
        """Channels: each has its own decay, hence its own implicit attention."""
        return self.parameter("A_log").shape[0]

    @property
    def d_value(self) -> int:
        """A channel carries one value."""
        return 1

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Tensor | None = None,
    ) -> Inlet:
        both: Tensor = self.submodule("in_proj")(hidden if mask is None else hidden * mask)
        values, gate = self.halves(both)
        conv = self.short_convolution(values, mask, memory)
        gate = F.silu(gate.to(conv.active.dtype))[..., None]
        return Inlet(self._form(conv.active), gate, conv.path(slice(None), self.n_heads))

    def halves(
        self, both: Float[Tensor, "batch time double"]
    ) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch time channels"]]:
        """Values and gate, as the input projection puts them side by side."""
        return both[..., : self.n_heads], both[..., self.n_heads :]

    def _form(self, active: Float[Tensor, "batch time channels"]) -> DiagonalDecay:
        rate = self.parameter("A_log").to(active.dtype).exp()
        projection = self.submodule("x_proj")
        selected = projection(active.to(projection.get_parameter("weight").dtype))
        states = rate.shape[1]
        rank = selected.shape[-1] - 2 * states
        low = self.normalised("dt", selected[..., :rank])
        b = self.normalised("b", selected[..., rank : rank + states])
        c = self.normalised("c", selected[..., rank + states :])
        step = self.submodule("dt_proj")
        weight, bias = step.get_parameter("weight"), step._parameters.get("bias")
        if bias is None or weight.dtype == bias.dtype == active.dtype:
            raw = F.linear(low, weight, bias).to(active.dtype)
        else:  # as the stock mixers add it: in float32, to what is half as wide
            raw = F.linear(low, weight).to(active.dtype) + bias.to(active.dtype)
        dt = F.softplus(raw)
        return DiagonalDecay(
            q=c[:, :, None].to(active.dtype),
            k=b[:, :, None].to(active.dtype),
            v=active[..., None],
            log_decay=-dt[..., None],
            rate=rate,
            write=dt,
        )

    def normalised(self, part: str, x: Float[Tensor, "batch time size"]) -> Float[Tensor, "batch time size"]:
        """What was selected, normalised where the family does so: ``dt`` (before its projection), ``b`` or ``c``."""
        return x

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        return Outlet(skip=self.parameter("D").to(z.dtype)[None, None, :, None])

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        out: Tensor = self.submodule("out_proj")(flat)
        return out

    def to_cache(self, state: Float[Tensor, "batch heads key value"]) -> Float[Tensor, "batch heads key"]:
        return state[..., 0]

    def from_cache(self, state: Float[Tensor, "batch heads key"]) -> Float[Tensor, "batch heads key value"]:
        return state[..., None]


@register
class FalconMambaAdapter(MambaAdapter):
    """FalconMamba (Zuo et al. 2024, arXiv:2410.05355): Mamba with an RMS norm without weights on dt, B and C."""

    family: str = "falcon_mamba"
    mixer_classes: ClassVar[tuple[str, ...]] = ("FalconMambaMixer",)

    def normalised(self, part: str, x: Float[Tensor, "batch time size"]) -> Float[Tensor, "batch time size"]:
        return _rms(x, float(getattr(self.module, "rms_eps")))  # noqa: B009 - mypy sees a Tensor in module attributes


@register
class JambaAdapter(MambaAdapter):
    """Jamba's Mamba layers (Lieber et al. 2024, arXiv:2403.19887): an RMS norm with weights on dt, B and C."""

    family: str = "jamba"
    mixer_classes: ClassVar[tuple[str, ...]] = ("JambaMambaMixer",)

    def normalised(self, part: str, x: Float[Tensor, "batch time size"]) -> Float[Tensor, "batch time size"]:
        norm = self.submodule(f"{part}_layernorm")
        epsilon = float(getattr(norm, "variance_epsilon"))  # noqa: B009 - mypy sees a Tensor in module attributes
        return norm.get_parameter("weight") * _rms(x, epsilon)


def _rms(x: Float[Tensor, "batch time size"], epsilon: float) -> Float[Tensor, "batch time size"]:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)).to(x.dtype)
