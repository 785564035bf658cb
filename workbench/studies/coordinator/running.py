"""Running a study: alone in its folder, round by round, every chunk committed when it ends."""

from __future__ import annotations

import hashlib
import time
from contextlib import closing
from pathlib import Path

from workbench.studies.coordinator.attempts import Attempts, end_quietly
from workbench.studies.coordinator.bar import Bar
from workbench.studies.coordinator.dispatching import Dispatcher
from workbench.studies.coordinator.preparing import metric_versions, prepare
from workbench.studies.coordinator.rounds import run_model
from workbench.studies.coordinator.staff import EngineMaker, Staff
from workbench.studies.coordinator.summary import Summary
from workbench.studies.coordinator.verifying import verify
from workbench.studies.engines.choosing import make_engine
from workbench.studies.planning.survey import Surveyor, survey_model
from workbench.studies.schema.study import Study
from workbench.studies.store.journal import Journal
from workbench.studies.store.locking import running_alone
from workbench.studies.store.schema import REFERENCES
from workbench.studies.store.status import study_status


def run_study(
    study: Study,
    folder: Path,
    *,
    base: Path | None = None,
    progress: bool = True,
    replan: bool = False,
    source: Path | None = None,
    surveyor: Surveyor = survey_model,
    engine: EngineMaker = make_engine,
) -> Summary:
    """Run what is not done yet of a study. It may be killed at any time; run it again, and it goes on.

    Args:
        folder: of the study, made where it is not there.
        base: what the study's paths are relative to; the current directory by default.
        progress: whether to show a bar with the time left.
        replan: whether the folder's study may be replaced by a changed one; results of units that are in both stay.
        source: the study's file, looked at again in the end: a change meanwhile is noted and changes nothing.
        surveyor, engine: how models are asked what they hold, and what runs chunks.

    Raises:
        InputError: the study has changed and `replan` is False, another process runs it, the folder lies on a network
            file system, the disk is full (all that was stored is whole), or the study does not suit a model.
        LoadError: a model cannot be loaded.
    """
    base = (base or Path.cwd()).absolute()
    began, before = time.monotonic(), _content(source)
    with running_alone(folder), closing(Journal(folder)) as journal:
        prepared = prepare(journal, study, base, replan, surveyor, progress)
        journal.retry_failed()
        attempts = Attempts(journal, prepared.study.run)
        ended, verification = "done", None
        with Bar(progress) as bar, Staff(prepared, folder / REFERENCES, engine, bar) as staff:
            dispatcher = Dispatcher(
                journal, staff, attempts, metric_versions(prepared.study), prepared.study.run.retries, bar.advance
            )
            try:
                for entry in prepared.study.models:
                    run_model(journal, prepared, entry.label, dispatcher, bar.begin)
                journal.note(searched=True)
                if prepared.study.run.verify:
                    verification = verify(journal, prepared, attempts.run_id, engine, bar)
            except KeyboardInterrupt:
                ended = "stopped"
            except BaseException as error:
                end_quietly(attempts, str(error) or type(error).__name__)
                raise
        attempts.end(ended)
        notes = (*prepared.notes, *(f"Computed plainly: {reason}" for reason in dispatcher.tally.not_reused))
        if before != _content(source):
            notes += (
                f"{source} has changed while the study ran; the results are of the study as it was when it began. "
                f"`workbench study plan {source}` says what is different.",
            )
        return Summary(
            folder=folder,
            ended=ended,
            coverage=study_status(folder).coverage,
            chunks=dispatcher.tally.chunks,
            units=dispatcher.tally.units,
            seconds=time.monotonic() - began,
            differing=dispatcher.tally.differing,
            verification=verification,
            notes=notes,
        )


def _content(source: Path | None) -> str | None:
    """A digest of a file; None for none, or for one that is gone."""
    try:
        return None if source is None else hashlib.blake2b(source.read_bytes()).hexdigest()
    except OSError:
        return None
