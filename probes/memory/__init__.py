"""Memory: what a model remembers of a text, for how long, in how many bytes; on every family alike."""

from workbench.probes.memory.curves import curve_figure
from workbench.probes.memory.decay import DecayFit, fit_decay, half_crossing
from workbench.probes.memory.fidelity import memory_fidelity, ridge_classes
from workbench.probes.memory.half_life import gate_half_lives, log_decays
from workbench.probes.memory.memory_function import linear_memory, memory_function
from workbench.probes.memory.position import loss_by_position, state_norms
from workbench.probes.memory.recall import primacy_and_recency, recall_by_bytes, serial_position
from workbench.probes.memory.state_size import cache_bytes, state_bytes, state_sizes
from workbench.probes.memory.systems import LinearSystem, linear_system, mixer_systems
from workbench.probes.memory.timescales import autocorrelation, time_constants, timescales
from workbench.probes.memory.verbatim import verbatim_memory
from workbench.windows import text_windows

__all__ = [
    "DecayFit",
    "LinearSystem",
    "autocorrelation",
    "cache_bytes",
    "curve_figure",
    "fit_decay",
    "gate_half_lives",
    "half_crossing",
    "linear_memory",
    "linear_system",
    "log_decays",
    "loss_by_position",
    "memory_fidelity",
    "memory_function",
    "mixer_systems",
    "primacy_and_recency",
    "recall_by_bytes",
    "ridge_classes",
    "serial_position",
    "state_bytes",
    "state_norms",
    "state_sizes",
    "text_windows",
    "time_constants",
    "timescales",
    "verbatim_memory",
]
