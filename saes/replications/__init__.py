"""Published results about features, asked again here: rows for `workbench replicate`."""

from workbench.saes.replications.table import replications

__all__ = ["replications"]
