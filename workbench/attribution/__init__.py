"""Which source tokens a logit came from: exactly, and by the approximations of the field."""

from workbench.attribution.linear import attribute
from workbench.attribution.result import Attribution
from workbench.attribution.rollout import gradient_weighted, rollout
from workbench.attribution.target import Target

__all__ = ["Attribution", "Target", "attribute", "gradient_weighted", "rollout"]
