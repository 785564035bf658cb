"""Memory: what a model remembers of a text, for how long, in how many bytes; on every family alike."""

from workbench.probes.memory.decay import DecayFit, fit_decay, half_crossing
from workbench.probes.memory.half_life import gate_half_lives, log_decays
from workbench.probes.memory.state_size import cache_bytes, state_bytes, state_sizes

__all__ = [
    "DecayFit",
    "cache_bytes",
    "fit_decay",
    "gate_half_lives",
    "half_crossing",
    "log_decays",
    "state_bytes",
    "state_sizes",
]
