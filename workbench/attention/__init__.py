"""Implicit attention: every mixer as a causal matrix between destination and source tokens, lazy and exact."""

from workbench.attention.implicit import ImplicitAttention
from workbench.attention.jacobian import jacobian

__all__ = ["ImplicitAttention", "jacobian"]
