"""Reductions of A that need its entries, tile by tile and never the whole matrix."""

from workbench.kernels.streaming.result import Reduction, Streamed
from workbench.kernels.streaming.stream import stream

__all__ = ["Reduction", "Streamed", "stream"]
