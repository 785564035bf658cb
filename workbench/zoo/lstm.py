"""LSTM (Hochreiter and Schmidhuber 1997) as a mixer: `torch.nn.LSTM`'s cell and an output projection."""

from __future__ import annotations

import torch
from torch import nn

from workbench.cells import LSTMCell
from workbench.zoo.cell_mixer import CellMixer
from workbench.zoo.config import ZooConfig
from workbench.zoo.registry import register


@register("lstm")
class LSTM(CellMixer):
    """``c = f c + i g``, ``h = o tanh(c)``, ``o_proj h``; ``x_proj`` and ``h_proj`` stack the gates i, f, g, o.

    Options: ``units`` (``2 d_model``), ``forget_bias`` (1: where the forget gates start, Jozefowicz et al. 2015).
    """

    family = "lstm"

    def __init__(self, config: ZooConfig, layer: int):
        super().__init__(config, LSTMCell.stacked)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """As the other cells, with forget gates that start open."""
        super().initialise()
        nn.init.constant_(self.x_proj.bias[self.n_heads : 2 * self.n_heads], self.options.get("forget_bias", 1.0))

    def cell(self, dtype: torch.dtype) -> LSTMCell:
        return LSTMCell(self.weights, dtype)
