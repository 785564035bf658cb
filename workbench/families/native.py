"""The adapter of every mixer that is written in the terms of `workbench.mixing`: the zoo's, and a user's own."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from workbench import mixing
from workbench.families.base import register
from workbench.families.recurrent import RecurrentAdapter
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet
from workbench.zoo.mixer import Mixer


@register
class NativeAdapter(RecurrentAdapter):
    """Hooks on a `Mixer`, whose own inlet and outlet are called."""

    family = "native"
    mixer_classes = ("Mixer",)

    def __init__(self, module: nn.Module, layer: int) -> None:
        assert isinstance(module, Mixer)  # the registry found it by this class
        self.mixer = module
        self.family = module.family
        self.operands = module.operands
        self.gated = module.gated
        self.opened = module.opened
        if module.per_channel_decay:
            self.log_decay_axes = ("batch", "time", "head", "key")
        super().__init__(module, layer)

    @property
    def n_heads(self) -> int:
        """Heads of the mixer."""
        return self.mixer.n_heads

    @property
    def d_value(self) -> int:
        """Value channels a head."""
        return self.mixer.d_value

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Tensor | None = None,
    ) -> Inlet:
        return self.mixer.read_in(hidden, mask, memory, positions)

    def read_out(self, z: mixing.Values, inlet: Inlet) -> Outlet:
        return self.mixer.read_out(z, inlet)

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        return self.mixer.project_out(flat)
