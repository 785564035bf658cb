"""The base of the zoo's recurrent mixers: an inlet, a recurrence by `workbench.kernels`, an outlet, a projection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workbench import kernels, mixing
from workbench.memory import DictMemory, Memory, NoMemory
from workbench.mixing import Inlet, Outlet
from workbench.zoo.cache import LayerCache


class Mixer(nn.Module, ABC):
    """A token mixer in the terms of `workbench.mixing`: subclasses say what `read_in` and `read_out` are.

    The same two methods are what an analysis looks into, so a family written as a `Mixer` needs no adapter.

    Attributes:
        family: the family's name.
        operands: the operands of the form that are computed from the input; each gets a hook point of its name.
        gated: whether there is an output gate.
        per_channel_decay: whether the decay differs between the key dimensions of a head.
        n_heads: heads with a matrix of their own.
        d_value: value channels a head.
        opened: names in the memory under which a state from outside is put.
        output: name of the output projection.
    """

    family: ClassVar[str]
    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v", "log_decay", "write")
    gated: bool = True
    per_channel_decay: ClassVar[bool] = False
    opened: ClassVar[tuple[str, ...]] = ("state",)
    output: ClassVar[str] = "o_proj"
    n_heads: int
    d_value: int

    @abstractmethod
    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        """Project, convolve, activate; the form and the gate in float32 at least, also under autocast.

        `mask` is 0 at pads, which must leave no trace in the state.
        """

    def read_out(self, z: mixing.Values, inlet: Inlet) -> Outlet:
        """What stands between the recurrence and the output projection; nothing by default."""
        return Outlet()

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        """Apply the output projection."""
        out: Tensor = self.get_submodule(self.output)(flat)
        return out

    def forward(
        self,
        hidden_states: Float[Tensor, "batch time model"],
        attention_mask: Bool[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "_ time"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch time model"]:
        """Mix tokens; `attention_mask` is 0 at pads and may span tokens that are in the cache already."""
        memory: Memory = NoMemory() if cache is None else DictMemory(cache)
        mask = None
        if attention_mask is not None:
            mask = attention_mask[:, -hidden_states.shape[1] :, None].to(hidden_states.dtype)
        inlet = self.read_in(hidden_states, mask, memory, position_ids)
        with torch.autocast(hidden_states.device.type, enabled=False):  # products of many decays are not for bfloat16
            z, state = kernels.forward(inlet.form, memory.get("state"))
            written = mixing.outputs(z, inlet.form.v, inlet.gate, self.read_out(z, inlet))
        if state is not None:
            memory.set("state", state)
        return self.project_out(written.flatten(2).to(hidden_states.dtype))
