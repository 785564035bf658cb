"""Mamba-2 (Dao and Gu 2024, arXiv:2405.21060): scalar decay, B and C shared in groups of heads, a gated norm after.

Per head, with dt > 0 and the rate r = exp(A_log) (section 5 and listing 1):

    S_t = exp(-dt_t r) S_{t-1} + dt_t B_t x_t'        z_t = S_t' C_t

The norm multiplies ``(z + D x) silu(gate)`` by its weight over the root mean square of each group; for implicit
attention that factor is held fixed like the gate.
"""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.families.base import register
from workbench.families.recurrent import RecurrentAdapter
from workbench.forms import ScalarDecay
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, Values

# Their eager code applies no other limit; newer versions of transformers spell it as a `time_step_limit`, too.
LIMITED_BELOW = ("Zamba2MambaMixer", "NemotronHMamba2Mixer")


@register
class Mamba2Adapter(RecurrentAdapter):
    """Mamba-2 of transformers, in whichever model, and of the zoo (``Mamba2``): same parameters, same mathematics.

    Limits on the time step hold in one-token decoding too, where transformers' eager mixers forget them.
    """

    family: str = "mamba2"
    mixer_classes: ClassVar[tuple[str, ...]] = (
        "Mamba2Mixer",
        "Mamba2",
        "BambaMixer",
        "GraniteMoeHybridMambaLayer",
        "Zamba2MambaMixer",
    )

    def __init__(self, module: nn.Module, layer: int) -> None:
        super().__init__(module, layer)
        self._groups = int(getattr(module, "n_groups", 1))
        low, high = getattr(module, "time_step_limit", None) or (0.0, float("inf"))
        if type(module).__name__ in LIMITED_BELOW:
            low, high = getattr(module, "time_step_min", low), float("inf")
        self._limits = (float(low), float(high))
        norm: Any = getattr(module, "norm", None)  # Falcon-H1 may have none
        self._epsilon = float(getattr(norm, "variance_epsilon", getattr(norm, "eps", 1e-6)))
        # Older versions of transformers normalise over all channels where newer ones do so within groups.
        size = getattr(norm, "group_size", None)
        self._norm_groups = int(getattr(norm, "n_groups", 1)) if size is None else self._inner // int(size)

    @property
    def n_heads(self) -> int:
        """Heads: each has its own decay."""
        return self.parameter("A_log").shape[0]

    @property
    def d_value(self) -> int:
        """Channels a head."""
        return self._inner // self.n_heads

    @property
    def _inner(self) -> int:
        return self.submodule("norm").get_parameter("weight").shape[0]

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Tensor | None = None,
    ) -> Inlet:
        flat = self.projected(hidden if mask is None else hidden * mask)
        step = flat.shape[-1] - self.n_heads
        conv = self.short_convolution(flat[..., self._inner : step], mask, memory)
        gate = self.heads(F.silu(flat[..., : self._inner].to(conv.active.dtype)))
        path = conv.path(slice(0, self._inner), self.n_heads)
        return Inlet(self._form(conv.active, flat[..., step:]), gate, path)

    def projected(self, hidden: Float[Tensor, "batch time model"]) -> Float[Tensor, "batch time projected"]:
        """The input projection: gate, values, B, C and time steps, side by side."""
        flat: Tensor = self.submodule("in_proj")(hidden)
        return flat

    def _form(
        self, active: Float[Tensor, "batch time channels"], step: Float[Tensor, "batch time heads"]
    ) -> ScalarDecay:
        # Slices, not split(): an in-place edit by a hook is refused on the several views that split() returns.
        middle = (self._inner + active.shape[-1]) // 2
        dt = F.softplus(step.to(active.dtype) + self.parameter("dt_bias").to(active.dtype)).clamp(*self._limits)
        return ScalarDecay(
            q=active[..., middle:].unflatten(-1, (self._groups, -1)),
            k=active[..., self._inner : middle].unflatten(-1, (self._groups, -1)),
            v=active[..., : self._inner].unflatten(-1, (self.n_heads, self.d_value)),
            log_decay=-dt * self.parameter("A_log").to(active.dtype).exp(),
            write=dt,
        )

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        skip = self.skip(z)
        assert inlet.gate is not None  # `read_in` gives one
        scale = self.norm_scale((z + skip * inlet.form.v) * inlet.gate)
        return Outlet(scale=scale, skip=scale * skip)

    def skip(self, z: Values) -> Float[Tensor, "one one heads one"]:
        """D, the factor on each head's own value."""
        return self.parameter("D").to(z.dtype)[None, None, :, None]

    def norm_scale(self, y: Values) -> Values:
        """What the norm multiplies `y` with: its weight over the root mean square of each group of channels."""
        grouped = y.flatten(2).unflatten(-1, (self._norm_groups, -1))
        inverse = mixing.inverse_rms(grouped, self._epsilon).expand_as(grouped).flatten(2)
        return self.heads(inverse * self.submodule("norm").get_parameter("weight").to(y.dtype))

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        out: Tensor = self.submodule("out_proj")(flat)
        return out

    def to_cache(self, state: Float[Tensor, "batch heads key value"]) -> Float[Tensor, "batch heads value key"]:
        return state.transpose(2, 3)

    def from_cache(self, state: Float[Tensor, "batch heads value key"]) -> Float[Tensor, "batch heads key value"]:
        return state.transpose(2, 3)


@register
class NemotronHAdapter(Mamba2Adapter):
    """Nemotron-H's Mamba-2 (NVIDIA 2025, arXiv:2504.03624), whose configuration names the activation otherwise."""

    mixer_classes: ClassVar[tuple[str, ...]] = ("NemotronHMamba2Mixer",)
    activation_key: str = "mamba_hidden_act"
