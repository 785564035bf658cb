"""The GRU (Cho et al. 2014, arXiv:1406.1078) in torch's convention: the reset gate acts after the matrix product."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from workbench import mixing
from workbench.cells.base import Cell, Gates, Hidden, Inputs, Mask, State, Units, tanh_slope
from workbench.memory import Memory


class GRUCell(Cell):
    """``n = tanh(W x + b + r (U h + d))``, ``h = z h + (1 - z) n``; gates stacked as r, z, n."""

    stacked = 3
    kept = ("cell",)

    def gates(self, projected: Units, hidden: Hidden, mask: Mask | None, memory: Memory) -> Gates:
        weights = self.weights
        past_r, past_z, past_n = F.linear(hidden, weights.recurrent, weights.recurrent_bias).chunk(3, -1)
        (r, z, n), biases = projected.chunk(3, -1), (0.0, 0.0, 0.0)
        if weights.input_bias is not None:
            biases = weights.input_bias.chunk(3)  # type: ignore[assignment]
        reset, update = torch.sigmoid(r + biases[0] + past_r), z + biases[1] + past_z
        rest = biases[2] + mixing.fixed(reset) * past_n
        return Gates(
            candidate=n,
            rest=rest,
            slope=tanh_slope(n + rest),
            log_decay=F.logsigmoid(update),
            write=torch.sigmoid(-update),
        )

    def fused(self, inputs: Inputs, hidden: Float[Tensor, "batch hidden"], state: State) -> tuple[Hidden, State]:
        after, last = torch.gru(inputs, hidden[None], *self.weights.one_layer())
        return after, last[0][..., None, None]
