"""The base of the zoo's mixers whose gates read their own hidden state: a cell and an output projection."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workbench.cells import Cell, Weights
from workbench.errors import InputError
from workbench.memory import DictMemory, Memory, NoMemory
from workbench.mixing import Inlet, Outlet, Values
from workbench.zoo.cache import LayerCache
from workbench.zoo.config import ZooConfig
from workbench.zoo.mixer import Mixer


class CellMixer(Mixer):
    """``o_proj`` of what a cell writes; see `workbench.cells` for what its form is exact about.

    Options: ``units`` (``2 d_model``).
    """

    operands: ClassVar[tuple[str, ...]] = ("v", "log_decay", "write")
    per_channel_decay = True
    opened = ("state", "cell")
    d_value = 1

    def __init__(self, config: ZooConfig, stacked: int, blocks: int | None = None):
        """`blocks`: recurrent weights in that many blocks on the diagonal; None for one matrix, a linear layer."""
        super().__init__()
        self.options = config.mixer_options
        self.n_heads = self.options.get("units", 2 * config.d_model)
        self.x_proj = nn.Linear(config.d_model, stacked * self.n_heads)
        if blocks is None:
            self.h_proj = nn.Linear(self.n_heads, stacked * self.n_heads)
        elif self.n_heads % blocks:
            raise InputError(f"{blocks} heads do not divide {self.n_heads} units.")
        else:
            size = self.n_heads // blocks
            self.recurrent = nn.Parameter(torch.empty(blocks, stacked, size, size))
        self.o_proj = nn.Linear(self.n_heads, config.d_model, bias=False)

    @abstractmethod
    def cell(self, dtype: torch.dtype) -> Cell:
        """The cell with the weights as they are now, for inputs of that dtype."""

    @property
    def weights(self) -> Weights:
        """The cell's parameters."""
        return Weights(self.x_proj.weight, self.h_proj.weight, self.x_proj.bias, self.h_proj.bias)

    @torch.no_grad()
    def initialise(self) -> None:
        """Orthogonal recurrent matrices, one a gate (Saxe et al. 2014, arXiv:1312.6120), and zero biases."""
        units = self.h_proj.in_features
        for gate in self.h_proj.weight.split(units):
            nn.init.orthogonal_(gate)
        nn.init.kaiming_uniform_(self.x_proj.weight, nonlinearity="linear")
        nn.init.zeros_(self.x_proj.bias)
        nn.init.zeros_(self.h_proj.bias)

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        with torch.autocast(hidden.device.type, enabled=False):  # states of many steps are not for bfloat16
            return self.cell(hidden.dtype).inlet(hidden, mask, memory)

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        return self.cell(z.dtype).outlet(z)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch time model"],
        attention_mask: Bool[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "_ time"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch time model"]:
        """As `Mixer.forward`, but without the form: the fused recurrence gives the same numbers in half the time."""
        memory: Memory = NoMemory() if cache is None else DictMemory(cache)
        mask = None
        if attention_mask is not None:
            mask = attention_mask[:, -hidden_states.shape[1] :, None].to(hidden_states.dtype)
        with torch.autocast(hidden_states.device.type, enabled=False):
            after = self.cell(hidden_states.dtype).hidden_states(hidden_states, mask, memory)
        return self.project_out(after.to(hidden_states.dtype))
