"""Head finders: which heads or channels read a defining position or do a defining thing, on every family alike."""

from workbench.probes.heads import (  # each registers its kinds
    copying,
    current,
    duplicate,
    first,
    induction,
    ngram,
    previous,
    retrieval,
    successor,
)
from workbench.probes.heads.finder import find_heads
from workbench.probes.heads.kinds import CausalTask, HeadKind, add_kind, get_kind, kinds
from workbench.probes.heads.modular import ModularFeatures, edited_successors, modular_features
from workbench.probes.heads.pairs import DefiningPairs
from workbench.probes.heads.reading import Reading, register_reading
from workbench.probes.heads.table import sites_of, top_heads

__all__ = [
    "CausalTask",
    "DefiningPairs",
    "HeadKind",
    "ModularFeatures",
    "Reading",
    "add_kind",
    "copying",
    "current",
    "duplicate",
    "edited_successors",
    "find_heads",
    "first",
    "get_kind",
    "induction",
    "kinds",
    "modular_features",
    "ngram",
    "previous",
    "register_reading",
    "retrieval",
    "sites_of",
    "successor",
    "top_heads",
]
