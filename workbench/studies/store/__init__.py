"""A study's folder: the plan, the journal of results, exports."""

from workbench.studies.store.coverage import Coverage
from workbench.studies.store.exporting import export_results
from workbench.studies.store.results import StudyResults, read_results
from workbench.studies.store.status import Status, study_status

__all__ = ["Coverage", "Status", "StudyResults", "export_results", "read_results", "study_status"]
