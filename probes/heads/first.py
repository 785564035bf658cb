"""First-token heads: every token reads the first one, where softmax heads rest that have nothing to do."""

from __future__ import annotations

from workbench.probes.heads.pairs import DefiningPairs
from workbench.probes.heads.reading import later_positions, register_reading
from workbench.tasks import Task


@register_reading(
    "first_token",
    reads="the first token of the text",
    source="Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks",
)
def first_token(task: Task) -> DefiningPairs:
    """``(t, 0)`` for every token but the first; position 0 holds the beginning-of-sequence token if one was put."""
    query = later_positions(task)
    return DefiningPairs(query, query * 0)
