"""Implicit attention: every mixer as a causal matrix between destination and source tokens, lazy and exact."""

from workbench.attention.implicit import ImplicitAttention
from workbench.attention.jacobian import jacobian
from workbench.attention.summaries import AttentionStatistics, MixerStatistics

__all__ = ["AttentionStatistics", "ImplicitAttention", "MixerStatistics", "jacobian"]
