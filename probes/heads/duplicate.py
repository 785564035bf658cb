"""Duplicate-token heads: a token reads its own previous occurrence."""

from __future__ import annotations

import torch

from workbench.probes.heads.kinds import DefiningPairs, register_kind
from workbench.tasks import RepeatedTokens


@register_kind(
    "duplicate_token",
    reads="the previous occurrence of the same token",
    source="Wang et al. 2022, Interpretability in the Wild",
)
def duplicate_token(task: RepeatedTokens) -> DefiningPairs:
    """``(t, t - block)`` for every token of the second and later copies."""
    query = torch.arange(task.offset + task.block, task.time, device=task.tokens.device)
    return DefiningPairs(query, query - task.block)
