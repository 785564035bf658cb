"""Interventions: one vocabulary of changes to what a model computes, on every family alike.

All but `WeightDelta`, which changes weights, are hooks (see `Intervention`), on places named by sites (``"L5H1"``) or
by hook names (``"blocks.5.hook_resid_post"``, or ``"hook_resid_post"`` for every layer's).
"""

from workbench.interventions.ablate import Ablate, Method
from workbench.interventions.base import Intervention
from workbench.interventions.fix import Fix
from workbench.interventions.patch import Patch
from workbench.interventions.positions import Positions
from workbench.interventions.reference import Reference, permutation_in_one_cycle
from workbench.interventions.scale import Scale
from workbench.interventions.steer import Steer
from workbench.interventions.steering_vector import SteeringVector
from workbench.interventions.weights import WeightDelta

__all__ = [
    "Ablate",
    "Fix",
    "Intervention",
    "Method",
    "Patch",
    "Positions",
    "Reference",
    "Scale",
    "Steer",
    "SteeringVector",
    "WeightDelta",
    "permutation_in_one_cycle",
]
