"""The simple recurrent network (Elman 1990), plain or leaky."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from workbench import mixing
from workbench.cells.base import Cell, Gates, Hidden, Inputs, Mask, State, Units, Weights, tanh_slope
from workbench.kernels.precision import LOWEST_LOG_DECAY
from workbench.memory import Memory


class ElmanCell(Cell):
    """``h = (1 - a) h + a act(W x + b + U h + d)`` with a leak `a` in (0, 1] a unit; ``a = 1`` is `torch.nn.RNN`.

    Without a leak nothing of the state before is kept but through the non-linearity: given what the cell reads of it,
    the map is diagonal, and the Jacobian tells the rest.
    """

    stacked: ClassVar[int] = 1
    kept: ClassVar[tuple[str, ...]] = ("cell",)

    def __init__(
        self,
        weights: Weights,
        dtype: torch.dtype,
        leak: Float[Tensor, " units"] | None = None,
        activation: str = "tanh",
    ) -> None:
        super().__init__(weights, dtype)
        self.leak = None if leak is None else leak.to(self.dtype)
        self.activation = activation

    def gates(self, projected: Units, hidden: Hidden, mask: Mask | None, memory: Memory) -> Gates:
        rest = F.linear(hidden, self.weights.recurrent, self.weights.recurrent_bias)
        if self.weights.input_bias is not None:
            rest = rest + self.weights.input_bias
        slope = tanh_slope if self.activation == "tanh" else mixing.slope_of(self.activation)
        if self.leak is None:
            log_decay, write = torch.full_like(rest, LOWEST_LOG_DECAY), torch.ones_like(rest)
        else:
            log_decay, write = torch.log1p(-self.leak).expand_as(rest), self.leak.expand_as(rest)
        return Gates(candidate=projected, rest=rest, slope=slope(projected + rest), log_decay=log_decay, write=write)

    def fused(self, inputs: Inputs, hidden: Float[Tensor, "batch hidden"], state: State) -> tuple[Hidden, State] | None:
        if self.leak is not None:
            return None
        run = torch.rnn_tanh if self.activation == "tanh" else torch.rnn_relu
        after, last = run(inputs, hidden[None], *self.weights.one_layer())
        return after, last[0][..., None, None]
