"""Recurrent cells whose gates read their own hidden state, as conditional canonical forms."""

from workbench.cells.base import Cell, Gates, Weights
from workbench.cells.elman import ElmanCell
from workbench.cells.gru import GRUCell
from workbench.cells.lstm import LSTMCell
from workbench.cells.slstm import SLSTMCell

__all__ = ["Cell", "ElmanCell", "GRUCell", "Gates", "LSTMCell", "SLSTMCell", "Weights"]
