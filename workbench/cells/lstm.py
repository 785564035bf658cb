"""The LSTM (Hochreiter and Schmidhuber 1997; with forget gates, Gers et al. 2000) in torch's convention."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from workbench.cells.base import Cell, Gates, Hidden, Inputs, Mask, State, Units, tanh_slope
from workbench.memory import Memory
from workbench.mixing import Values


class LSTMCell(Cell):
    """``c = f c + i g``, ``h = o tanh(c)``; gates stacked as i, f, g, o."""

    stacked = 4

    def gates(self, projected: Units, hidden: Hidden, mask: Mask | None, memory: Memory) -> Gates:
        rest = F.linear(hidden, self.weights.recurrent, self.weights.recurrent_bias)
        if self.weights.input_bias is not None:
            rest = rest + self.weights.input_bias
        (i, f, g, o), (rest_i, rest_f, rest_g, rest_o) = projected.chunk(4, -1), rest.chunk(4, -1)
        return Gates(
            candidate=g,
            rest=rest_g,
            slope=tanh_slope(g + rest_g),
            log_decay=F.logsigmoid(f + rest_f),
            write=torch.sigmoid(i + rest_i),
            gate=torch.sigmoid(o + rest_o),
        )

    def scale(self, z: Values) -> Tensor:
        return tanh_slope(z)

    def fused(self, inputs: Inputs, hidden: Float[Tensor, "batch hidden"], state: State) -> tuple[Hidden, State]:
        start = (hidden[None], state[..., 0, 0][None].contiguous())
        after, _, last = torch.lstm(inputs, start, *self.weights.one_layer())
        return after, last[0][..., None, None]
