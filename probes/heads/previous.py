"""Previous-token heads: every token reads the one before it."""

from __future__ import annotations

from workbench.probes.heads.pairs import DefiningPairs
from workbench.probes.heads.reading import later_positions, register_reading
from workbench.tasks import Task


@register_reading(
    "previous_token",
    reads="the token before",
    source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
)
def previous_token(task: Task) -> DefiningPairs:
    """``(t, t - 1)`` for every token but the first."""
    query = later_positions(task)
    return DefiningPairs(query, query - 1)
