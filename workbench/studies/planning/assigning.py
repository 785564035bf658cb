"""From names in a plan to what a worker is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.studies.edits.edit import Edit
from workbench.studies.engines.protocol import Assignment, Work
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.planning.survey import Survey
from workbench.studies.schema.study import Study
from workbench.studies.store.records import PlannedChunk


def work_of(study: Study, surveys: Mapping[str, Survey], references: Path | None) -> Work:
    """What every worker of a study has to know."""
    return Work(
        study=study,
        prompts={label: survey.prompts for label, survey in surveys.items()},
        digests={label: survey.digest for label, survey in surveys.items()},
        references=references,
        threads=study.run.threads,
    )


def assignment(chunk: PlannedChunk, edits: Mapping[str, Edit], prompts: Mapping[str, Prompt]) -> Assignment:
    """A chunk with everything in it, from edits and prompts by their ids."""
    return Assignment(
        chunk_id=chunk.chunk_id,
        model=chunk.model,
        edits=tuple(edits[edit] for edit in chunk.edit_ids),
        prompts=tuple(prompts[prompt] for prompt in chunk.prompt_ids),
        metrics=chunk.metrics,
    )
