"""Current-token heads: every token reads itself, so that the head acts as one more feed-forward layer."""

from __future__ import annotations

from workbench.probes.heads.pairs import DefiningPairs
from workbench.probes.heads.reading import later_positions, register_reading
from workbench.tasks import Task


@register_reading(
    "current_token",
    reads="the token that they are at",
    source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
)
def current_token(task: Task) -> DefiningPairs:
    """``(t, t)`` for every token but the first, which has no other one to read."""
    query = later_positions(task)
    return DefiningPairs(query, query)
