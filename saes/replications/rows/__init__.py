"""The rows about features, a file an area; importing one registers its rows."""

from workbench.saes.replications.rows import circles, codebooks, explaining, geometry, repeating, sparsity, universal

__all__ = ["circles", "codebooks", "explaining", "geometry", "repeating", "sparsity", "universal"]
