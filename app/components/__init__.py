"""Drawings that Streamlit lacks: a strip of tokens, a matrix of any size, a list, a plain line."""

from workbench.app.components.curve import curve
from workbench.app.components.kept import keep, kept
from workbench.app.components.matrix import matrix
from workbench.app.components.rows import rows
from workbench.app.components.strip import token_strip
from workbench.app.components.thumbnails import thumbnails
from workbench.figures.axes import Axis
from workbench.figures.canvas import canvas_matrix, causal_matrix

__all__ = [
    "Axis",
    "canvas_matrix",
    "causal_matrix",
    "curve",
    "keep",
    "kept",
    "matrix",
    "rows",
    "thumbnails",
    "token_strip",
]
