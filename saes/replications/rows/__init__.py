"""The rows about features, a file an area; importing one registers its rows."""

from workbench.saes.replications.rows import circles, codebooks, geometry, repeating, sparsity, universal

__all__ = ["circles", "codebooks", "geometry", "repeating", "sparsity", "universal"]
