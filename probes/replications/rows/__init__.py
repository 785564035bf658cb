"""The rows, a file an area; importing one registers its rows."""

from workbench.probes.replications.rows import attention, dynamics, heads, memory, repetition

__all__ = ["attention", "dynamics", "heads", "memory", "repetition"]
