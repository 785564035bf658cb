"""Duplicate-token heads: a token reads its own previous occurrence."""

from __future__ import annotations

from workbench.probes.heads.pairs import DefiningPairs
from workbench.probes.heads.reading import last_copies, register_reading
from workbench.tasks import RepeatedTokens


@register_reading(
    "duplicate_token",
    reads="the previous occurrence of the same token",
    source="Wang et al. 2022, Interpretability in the Wild",
)
def duplicate_token(task: RepeatedTokens) -> DefiningPairs:
    """``(t, t - block)`` for every token of the second and later copies."""
    query = last_copies(task)
    return DefiningPairs(query, query - task.block)
