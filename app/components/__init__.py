"""Drawings that Streamlit lacks: a strip of tokens, a matrix of any size."""

from workbench.app.components.kept import keep, kept
from workbench.app.components.matrix import matrix
from workbench.app.components.rows import rows
from workbench.app.components.strip import token_strip
from workbench.figures.axes import Axis

__all__ = ["Axis", "keep", "kept", "matrix", "rows", "token_strip"]
