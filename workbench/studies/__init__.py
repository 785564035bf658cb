"""Batch studies: edits of models, swept over sites, methods and prompts; planned, run, resumed and reported."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.studies.coordinator import Summary as Summary
    from workbench.studies.coordinator import run_study as run_study
    from workbench.studies.coordinator.at_hand import run_with_model as run_with_model
    from workbench.studies.edits.method import METHODS as METHODS
    from workbench.studies.edits.method import MethodKind as MethodKind
    from workbench.studies.edits.site import SITES as SITES
    from workbench.studies.edits.site import SiteKind as SiteKind
    from workbench.studies.metrics.metric import METRICS as METRICS
    from workbench.studies.metrics.metric import MetricKind as MetricKind
    from workbench.studies.planning import Plan as Plan
    from workbench.studies.planning import plan_study as plan_study
    from workbench.studies.report import compare_studies as compare_studies
    from workbench.studies.report import effects_table as effects_table
    from workbench.studies.report import write_comparison as write_comparison
    from workbench.studies.report import write_report as write_report
    from workbench.studies.schema.python_file import python_study as python_study
    from workbench.studies.schema.reading import read_study as read_study
    from workbench.studies.schema.study import Controls as Controls
    from workbench.studies.schema.study import EditsEntry as EditsEntry
    from workbench.studies.schema.study import ModelEntry as ModelEntry
    from workbench.studies.schema.study import PromptInputs as PromptInputs
    from workbench.studies.schema.study import Run as Run
    from workbench.studies.schema.study import Split as Split
    from workbench.studies.schema.study import Statistics as Statistics
    from workbench.studies.schema.study import Study as Study
    from workbench.studies.schema.study import TaskInputs as TaskInputs
    from workbench.studies.schema.study import TextInputs as TextInputs
    from workbench.studies.schema.writing import study_text as study_text
    from workbench.studies.searches.search import SCORES as SCORES
    from workbench.studies.searches.search import SEARCHES as SEARCHES
    from workbench.studies.searches.search import ScoreKind as ScoreKind
    from workbench.studies.searches.search import SearchKind as SearchKind
    from workbench.studies.store import Status as Status
    from workbench.studies.store import StudyResults as StudyResults
    from workbench.studies.store import export_results as export_results
    from workbench.studies.store import read_results as read_results
    from workbench.studies.store import study_status as study_status

# Public name -> the module that defines it: nothing is imported before it is asked for.
PUBLIC = {
    "plan_study": "workbench.studies.planning",
    "Plan": "workbench.studies.planning",
    "run_study": "workbench.studies.coordinator",
    "Summary": "workbench.studies.coordinator",
    "run_with_model": "workbench.studies.coordinator.at_hand",
    "read_results": "workbench.studies.store",
    "study_status": "workbench.studies.store",
    "export_results": "workbench.studies.store",
    "StudyResults": "workbench.studies.store",
    "Status": "workbench.studies.store",
    "effects_table": "workbench.studies.report",
    "write_report": "workbench.studies.report",
    "compare_studies": "workbench.studies.report",
    "write_comparison": "workbench.studies.report",
    "METHODS": "workbench.studies.edits.method",
    "MethodKind": "workbench.studies.edits.method",
    "SITES": "workbench.studies.edits.site",
    "SiteKind": "workbench.studies.edits.site",
    "METRICS": "workbench.studies.metrics.metric",
    "MetricKind": "workbench.studies.metrics.metric",
    "python_study": "workbench.studies.schema.python_file",
    "read_study": "workbench.studies.schema.reading",
    "Controls": "workbench.studies.schema.study",
    "EditsEntry": "workbench.studies.schema.study",
    "ModelEntry": "workbench.studies.schema.study",
    "PromptInputs": "workbench.studies.schema.study",
    "Run": "workbench.studies.schema.study",
    "Split": "workbench.studies.schema.study",
    "Statistics": "workbench.studies.schema.study",
    "Study": "workbench.studies.schema.study",
    "TaskInputs": "workbench.studies.schema.study",
    "TextInputs": "workbench.studies.schema.study",
    "study_text": "workbench.studies.schema.writing",
    "SCORES": "workbench.studies.searches.search",
    "SEARCHES": "workbench.studies.searches.search",
    "ScoreKind": "workbench.studies.searches.search",
    "SearchKind": "workbench.studies.searches.search",
}


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"workbench.studies has no public name {name!r}; it has {', '.join(sorted(PUBLIC))}.")
    value = getattr(import_module(PUBLIC[name]), name)
    globals()[name] = value  # the second look-up no longer comes here
    return value


def __dir__() -> list[str]:
    return sorted(PUBLIC)
