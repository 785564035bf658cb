"""Head finders: which heads or channels read a defining position, on every family alike."""

from workbench.probes.heads import duplicate, induction, previous  # each registers its kind
from workbench.probes.heads.finder import find_heads
from workbench.probes.heads.kinds import DefiningPairs, HeadKind, get_kind, kinds, register_kind
from workbench.probes.heads.table import sites_of, top_heads

__all__ = [
    "DefiningPairs",
    "HeadKind",
    "duplicate",
    "find_heads",
    "get_kind",
    "induction",
    "kinds",
    "previous",
    "register_kind",
    "sites_of",
    "top_heads",
]
