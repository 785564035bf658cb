"""Induction heads: a token reads what followed its previous occurrence, and so knows what may come next."""

from __future__ import annotations

from workbench.probes.heads.pairs import DefiningPairs
from workbench.probes.heads.reading import last_copies, register_reading
from workbench.tasks import RepeatedTokens


@register_reading(
    "induction",
    reads="the token after the previous occurrence of the same token",
    source="Olsson et al. 2022, In-context Learning and Induction Heads",
)
def induction(task: RepeatedTokens) -> DefiningPairs:
    """``(t, t - block + 1)`` for every token of the second and later copies: prefix matching.

    What such a head then writes is a question of its own: see the kinds ``"copying"`` and ``"copying_circuit"``.
    """
    query = last_copies(task)
    return DefiningPairs(query, query - task.block + 1)
