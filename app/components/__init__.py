"""Drawings that Streamlit lacks: a strip of tokens, a matrix of any size."""

from workbench.app.components.axes import Axis
from workbench.app.components.kept import keep, kept
from workbench.app.components.matrix import matrix
from workbench.app.components.rows import rows
from workbench.app.components.strip import token_strip

__all__ = ["Axis", "keep", "kept", "matrix", "rows", "token_strip"]
