"""What a study would do, before it does it."""

from workbench.studies.planning.plan import Plan
from workbench.studies.planning.planner import plan_study

__all__ = ["Plan", "plan_study"]
