"""GRU (Cho et al. 2014, arXiv:1406.1078) as a mixer: `torch.nn.GRU`'s cell and an output projection."""

from __future__ import annotations

import torch
from torch import nn

from workbench.cells import GRUCell
from workbench.zoo.cell_mixer import CellMixer
from workbench.zoo.config import ZooConfig
from workbench.zoo.registry import register


@register("gru")
class GRU(CellMixer):
    """``h = z h + (1 - z) tanh(W x + b + r (U h + d))``, ``o_proj h``; the gates are stacked as r, z, n.

    Options: ``units`` (``2 d_model``), ``update_bias`` (1: where the update gates z start, which keep the state).
    """

    family = "gru"
    gated = False

    def __init__(self, config: ZooConfig, layer: int):
        super().__init__(config, GRUCell.stacked)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """As the other cells, with update gates that start by keeping the state."""
        super().initialise()
        nn.init.constant_(self.x_proj.bias[self.n_heads : 2 * self.n_heads], self.options.get("update_bias", 1.0))

    def cell(self, dtype: torch.dtype) -> GRUCell:
        return GRUCell(self.weights, dtype)
