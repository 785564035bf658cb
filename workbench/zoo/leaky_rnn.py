"""The leaky recurrent network (Jaeger et al. 2007) as a mixer: units with time constants of their own."""

from __future__ import annotations

import math

import torch
from torch import nn

from workbench.cells import ElmanCell
from workbench.zoo.cell_mixer import CellMixer
from workbench.zoo.config import ZooConfig
from workbench.zoo.registry import register


@register("leaky_rnn")
class LeakyRNN(CellMixer):
    """``h = (1 - a) h + a tanh(W x + b + U h + d)``, ``o_proj h``, with a learned leak ``a = sigmoid(leak)`` a unit.

    There is no fused recurrence for it, so a call takes time a step. Options: ``units`` (``2 d_model``), ``leak_min``
    (0.01) and ``leak_max`` (0.5), between which the leaks start, evenly in their logarithm.
    """

    family = "leaky_rnn"
    gated = False

    def __init__(self, config: ZooConfig, layer: int):
        super().__init__(config, ElmanCell.stacked)
        self.leak = nn.Parameter(torch.empty(self.n_heads))
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """As the other cells, with leaks of all sizes."""
        super().initialise()
        low, high = math.log(self.options.get("leak_min", 0.01)), math.log(self.options.get("leak_max", 0.5))
        self.leak.copy_(torch.linspace(low, high, self.n_heads).exp().logit())

    def cell(self, dtype: torch.dtype) -> ElmanCell:
        return ElmanCell(self.weights, dtype, leak=torch.sigmoid(self.leak))
