"""Published results, asked again here: `workbench replicate`."""

from workbench.probes.replications.registry import (
    Outcome,
    Replication,
    cannot_run,
    get_replication,
    replication,
    replications,
)
from workbench.probes.replications.results import Result, load, render, save

__all__ = [
    "Outcome",
    "Replication",
    "Result",
    "cannot_run",
    "get_replication",
    "load",
    "render",
    "replication",
    "replications",
    "save",
]
