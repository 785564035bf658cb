"""sLSTM (Beck et al. 2024, arXiv:2405.04517) as a mixer: its cell and an output projection."""

from __future__ import annotations

import torch
from torch import nn

from workbench.cells import SLSTMCell, Weights
from workbench.zoo.cell_mixer import CellMixer
from workbench.zoo.config import ZooConfig
from workbench.zoo.registry import register


@register("slstm")
class SLSTM(CellMixer):
    """The cell of equations 8 to 17 with sigmoid forget gates and a block of recurrent weights a head; ``o_proj h``.

    The convolution and the group norm that the paper's block has around the cell are left out: what is here is the
    part in which it differs from an LSTM. There is no fused recurrence for it, so a call takes time a step.

    Options: ``units`` (``2 d_model``), ``n_heads`` (4), ``forget_bias`` (3).

    Raises:
        InputError: the heads do not divide the units.
    """

    family = "slstm"
    operands = ("v", "log_decay", "write", "read")

    def __init__(self, config: ZooConfig, layer: int):
        super().__init__(config, SLSTMCell.stacked, blocks=config.mixer_options.get("n_heads", 4))
        self.initialise()

    @property
    def weights(self) -> Weights:
        """The cell's parameters."""
        return Weights(self.x_proj.weight, self.recurrent, self.x_proj.bias)

    @torch.no_grad()
    def initialise(self) -> None:
        """Small recurrent weights, forget gates that start open."""
        nn.init.normal_(self.recurrent, std=0.5 * self.recurrent.shape[-1] ** -0.5)
        nn.init.zeros_(self.x_proj.bias)
        nn.init.constant_(self.x_proj.bias[self.n_heads : 2 * self.n_heads], self.options.get("forget_bias", 3.0))

    def cell(self, dtype: torch.dtype) -> SLSTMCell:
        return SLSTMCell(self.weights, dtype)
