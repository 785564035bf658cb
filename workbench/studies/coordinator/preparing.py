"""Settling what a folder is to run: a new study, the one that was planned there, or a changed one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import InputError
from workbench.report.files import write_atomically
from workbench.studies.edits.files import located
from workbench.studies.planning.changes import compare, identity_of
from workbench.studies.planning.listing import Listing, first_rounds
from workbench.studies.planning.planner import make_plan, write_plan
from workbench.studies.planning.survey import Survey, Surveyor, inputs_digest, survey_all, survey_of
from workbench.studies.schema.study import Study
from workbench.studies.store.journal import Journal
from workbench.studies.store.schema import STUDY


@dataclass(frozen=True)
class Prepared:
    """What is run.

    Attributes:
        study: as it was planned, with the `run` of today; the files it names are at absolute paths.
        batch_tokens: of the plan, which later rounds keep to.
        first: the first round of each model, where it has just been listed.
        notes: sentences for the user.
    """

    study: Study
    surveys: Mapping[str, Survey]
    batch_tokens: int
    first: Mapping[str, Listing]
    notes: tuple[str, ...]


def prepare(journal: Journal, study: Study, base: Path, replan: bool, surveyor: Surveyor, progress: bool) -> Prepared:
    """Write a new plan into the journal, or find that its plan is this study's.

    A study that is as it was planned loads no model: each worker compares the weights with what was planned.

    Raises:
        InputError: the folder's study is another one and `replan` is False; what would change is said.
    """
    inputs, placed = inputs_digest(study, base), located(study, base)
    stored = journal.meta("study")
    if stored is not None:
        before = Study.model_validate_json(stored)
        if not replan and identity_of(before) == identity_of(study) and journal.meta("inputs") == inputs:
            return _resumed(journal, study, before, placed)
    surveys = survey_all(placed, base, surveyor, progress)
    listings = first_rounds(placed, surveys, measured=journal.measured(metric_versions(study)))
    notes: tuple[str, ...] = ()
    changes = None
    if stored is not None:
        digests = {label: survey.digest for label, survey in surveys.items()}
        changes = compare(journal, study, listings, digests, inputs)
        if changes.any and not replan:
            raise InputError(
                f"The study has changed since it was planned in {journal.folder}: {changes.sentence()}. "
                "Run it with --replan to go on with the changed one (results are kept), or in another folder."
            )
        notes = (f"Planned anew: {changes.sentence()}.",) if changes.any else ()
    noted = noted_study(study)
    meta = {
        **noted,
        "inputs": inputs,
        "base": str(base),
        "batch_tokens": study.run.batch_tokens,
    }
    journal.begin_plan(
        meta,
        {label: survey.as_json() for label, survey in surveys.items()},
        {label: survey.prompts for label, survey in surveys.items()},
    )
    write_atomically(journal.folder / STUDY, noted["written"])
    write_plan(make_plan(study, journal.folder, base, surveys, listings, {}, changes))
    return Prepared(placed, surveys, study.run.batch_tokens, {listing.model: listing for listing in listings}, notes)


def metric_versions(study: Study) -> dict[str, int]:
    """The version of every metric of a study, by its name."""
    return {metric.name: type(metric).version for metric in study.metrics}


def noted_study(study: Study) -> dict[str, str]:
    """What the journal notes of a study: all of it as JSON, and the text of ``study.yaml``, which leaves out defaults.

    As long as nobody edits that file, the folder's study is what the journal has.
    """
    from workbench.studies.schema.writing import study_text

    return {"study": study.model_dump_json(), "written": study_text(study, defaults=False)}


def _resumed(journal: Journal, study: Study, before: Study, placed: Study) -> Prepared:
    if study != before:
        noted = noted_study(study)
        journal.note(**noted)
        write_atomically(journal.folder / STUDY, noted["written"])
    found = journal.surveys()
    surveys = {entry.label: survey_of(found[entry.label], journal.prompts(entry.label)) for entry in study.models}
    return Prepared(placed, surveys, journal.meta("batch_tokens"), {}, ())
