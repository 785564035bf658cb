"""From a study to its plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from workbench.report.files import write_atomically
from workbench.studies.edits.files import located
from workbench.studies.planning.advice import families, warnings
from workbench.studies.planning.calibration import Calibration
from workbench.studies.planning.calibration import calibrate as run_one_chunk
from workbench.studies.planning.changes import Changes, compare
from workbench.studies.planning.later import later_rounds
from workbench.studies.planning.listing import Listing, first_rounds
from workbench.studies.planning.plan import Plan, bytes_to_write, failed_calibrations, model_plan
from workbench.studies.planning.survey import Survey, Surveyor, inputs_digest, survey_all, survey_model
from workbench.studies.schema.study import Study
from workbench.studies.store.reader import JournalReader
from workbench.studies.store.schema import JOURNAL, PLAN


def plan_study(
    study: Study,
    folder: Path,
    *,
    base: Path | None = None,
    replan: bool = False,
    calibrate: bool = True,
    progress: bool = True,
    write: bool = True,
    surveyor: Surveyor = survey_model,
) -> Plan:
    """Say what `run_study` would do. Models are loaded; nothing is run but one chunk of each to see how long it takes.

    Args:
        folder: of the study; what is done there already is counted.
        base: what the study's paths are relative to; the current directory by default.
        replan: whether the folder's plan may be another study's; it is compared either way.
        calibrate: whether to run that chunk.
        write: whether to write ``plan.json`` into the folder, which is made.

    Raises:
        InputError: the study does not suit a model, or the folder's journal cannot be read.
        LoadError: a model cannot be loaded.
    """
    base = (base or Path.cwd()).absolute()
    placed = located(study, base)
    surveys = survey_all(placed, base, surveyor, progress)
    changes = None
    if (folder / JOURNAL).is_file():
        with closing(JournalReader(folder)) as journal:
            measured = journal.measured({metric.name: type(metric).version for metric in study.metrics})
            listings = first_rounds(placed, surveys, measured=measured)
            if journal.meta("study") is not None:
                digests = {label: survey.digest for label, survey in surveys.items()}
                changes = compare(journal, study, listings, digests, inputs_digest(study, base))
    else:
        listings = first_rounds(placed, surveys)
    calibrated = run_one_chunk(placed, surveys, listings) if calibrate else {}
    plan = make_plan(study, folder, base, surveys, listings, calibrated, changes)
    if write:
        write_plan(plan)
    return plan


def make_plan(
    study: Study,
    folder: Path,
    base: Path,
    surveys: Mapping[str, Survey],
    listings: Sequence[Listing],
    calibrated: Mapping[str, Calibration],
    changes: Changes | None,
) -> Plan:
    """The plan of a study whose first rounds are listed."""
    return Plan(
        study=study,
        folder=folder,
        base=base,
        models=tuple(
            model_plan(listing, surveys[listing.model], calibrated.get(listing.model)) for listing in listings
        ),
        families=tuple(families(study, surveys, listings)),
        later=tuple(later_rounds(study, surveys, listings)),
        bytes=bytes_to_write(study, listings),
        warnings=(*failed_calibrations(calibrated), *warnings(study, surveys, listings)),
        changes=changes,
    )


def write_plan(plan: Plan) -> None:
    """Write ``plan.json`` into the plan's folder, which is made."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(plan.folder / PLAN, json.dumps(plan.as_json(), indent=1, ensure_ascii=False) + "\n")
