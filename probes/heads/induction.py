"""Induction heads: a token reads what followed its previous occurrence, and so knows what may come next."""

from __future__ import annotations

import torch

from workbench.probes.heads.kinds import DefiningPairs, register_kind
from workbench.tasks import RepeatedTokens


@register_kind(
    "induction",
    reads="the token after the previous occurrence of the same token",
    source="Olsson et al. 2022, In-context Learning and Induction Heads",
)
def induction(task: RepeatedTokens) -> DefiningPairs:
    """``(t, t - block + 1)`` for every token of the second and later copies: prefix matching."""
    query = torch.arange(task.offset + task.block, task.time, device=task.tokens.device)
    return DefiningPairs(query, query - task.block + 1)
