"""Previous-token heads: every token reads the one before it."""

from __future__ import annotations

import torch

from workbench.probes.heads.kinds import DefiningPairs, register_kind
from workbench.tasks import RepeatedTokens


@register_kind(
    "previous_token",
    reads="the token before",
    source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
)
def previous_token(task: RepeatedTokens) -> DefiningPairs:
    """``(t, t - 1)`` for every token but the first."""
    query = torch.arange(1, task.time, device=task.tokens.device)
    return DefiningPairs(query, query - 1)
