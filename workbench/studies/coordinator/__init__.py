"""Running a study: rounds, engine, commits, retries, and what is said in the end."""

from workbench.studies.coordinator.running import run_study
from workbench.studies.coordinator.summary import Summary, Verification

__all__ = ["Summary", "Verification", "run_study"]
