"""Implicit attention: every mixer as a causal matrix between destination and source tokens, lazy and exact."""

from workbench.attention.implicit import ImplicitAttention

__all__ = ["ImplicitAttention"]
