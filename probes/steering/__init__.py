"""Steering: directions from contrasting prompts, and what they do at every strength."""

from workbench.probes.steering.contrast import contrastive_vector
from workbench.probes.steering.sweep import steering_figure, steering_sweep

__all__ = ["contrastive_vector", "steering_figure", "steering_sweep"]
