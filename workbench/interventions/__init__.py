"""Interventions: one vocabulary of changes to what a model computes, on every family alike.

All are hooks (see `Intervention`), on places named by sites (``"L5H1"``) or by hook names
(``"blocks.5.hook_resid_post"``).
"""

from workbench.interventions.ablate import Ablate, Method
from workbench.interventions.base import Intervention
from workbench.interventions.reference import Reference, permutation_in_one_cycle

__all__ = ["Ablate", "Intervention", "Method", "Reference", "permutation_in_one_cycle"]
