"""The rows, a file an area; importing one registers its rows."""

from workbench.probes.replications.rows import (
    attention,
    changing,
    channels_and_weights,
    dynamics,
    finders,
    heads,
    lenses,
    memory,
    not_yet,
    probes,
    repetition,
    weights,
)

__all__ = [
    "attention",
    "changing",
    "channels_and_weights",
    "dynamics",
    "finders",
    "heads",
    "lenses",
    "memory",
    "not_yet",
    "probes",
    "repetition",
    "weights",
]
