"""Head finders, lenses and probes, written once against the canonical forms."""

from workbench.probes.causal import ablate_top_k, heads_of_other_kinds
from workbench.probes.heads import find_heads, kinds, sites_of, top_heads

__all__ = ["ablate_top_k", "find_heads", "heads_of_other_kinds", "kinds", "sites_of", "top_heads"]
