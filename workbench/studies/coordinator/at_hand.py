"""A study of one model that is loaded already, run in this process: for notebooks and for pages that wait for it."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.studies.coordinator.running import run_study
from workbench.studies.coordinator.summary import Summary
from workbench.studies.engines.present import PresentEngine
from workbench.studies.planning.survey import Survey, survey_loaded
from workbench.studies.schema.study import ModelEntry, Study


def run_with_model(
    study: Study, model: HookedModel, folder: Path, *, base: Path | None = None, progress: bool = False
) -> Summary:
    """Run a study of one model on that model as it is loaded, chunk by chunk in this process.

    What comes out is what `run_study` gives, which loads the model in processes of its own: the same units, with the
    threads of this process. Hooks are attached to `model` meanwhile, so nobody else may run it.

    Args:
        study: with one entry under ``models:``, whose id says where `model` came from.
        folder: of the study, made where it is not there; what is measured in it already is kept.
        base: what the study's paths are relative to; the current directory by default.
        progress: show a bar; `workbench.progress.heard_by` hears of it either way.

    Raises:
        InputError: several models, or what `run_study` refuses.
    """
    if len(study.models) != 1:
        raise InputError(f"One model is at hand, and the study asks for {len(study.models)}; `run_study` loads them.")

    def survey(study: Study, entry: ModelEntry, base: Path) -> Survey:
        return survey_loaded(study, entry, base, model)

    return run_study(
        study, folder, base=base, progress=progress, surveyor=survey, engine=lambda run: PresentEngine(model)
    )
