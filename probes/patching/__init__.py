"""Causal edits as measurements: which place, which path, directly or in the end, and what a first-order guess says."""

from workbench.probes.patching.activation import activation_patching
from workbench.probes.patching.attribution import Agreement, agreement, attribution_patching
from workbench.probes.patching.back import back_patching
from workbench.probes.patching.effects import DirectEffects, direct_and_total_effects, direct_effects
from workbench.probes.patching.figures import effect_map, effects_scatter
from workbench.probes.patching.metric import Metric, answer_metric
from workbench.probes.patching.path import path_patching
from workbench.probes.patching.receivers import head_operands

__all__ = [
    "Agreement",
    "DirectEffects",
    "Metric",
    "activation_patching",
    "agreement",
    "answer_metric",
    "attribution_patching",
    "back_patching",
    "direct_and_total_effects",
    "direct_effects",
    "effect_map",
    "effects_scatter",
    "head_operands",
    "path_patching",
]
