"""Memory: what a model remembers of a text, for how long, in how many bytes; on every family alike."""

from workbench.probes.memory.decay import DecayFit, fit_decay, half_crossing
from workbench.probes.memory.half_life import gate_half_lives, log_decays
from workbench.probes.memory.memory_function import linear_memory, memory_function
from workbench.probes.memory.position import loss_by_position, state_norms, text_windows
from workbench.probes.memory.state_size import cache_bytes, state_bytes, state_sizes
from workbench.probes.memory.timescales import autocorrelation, time_constants, timescales

__all__ = [
    "DecayFit",
    "autocorrelation",
    "cache_bytes",
    "fit_decay",
    "gate_half_lives",
    "half_crossing",
    "linear_memory",
    "log_decays",
    "loss_by_position",
    "memory_function",
    "state_bytes",
    "state_norms",
    "state_sizes",
    "text_windows",
    "time_constants",
    "timescales",
]
