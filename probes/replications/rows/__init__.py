"""The rows, a file an area; importing one registers its rows."""

from workbench.probes.replications.rows import attention, heads

__all__ = ["attention", "heads"]
