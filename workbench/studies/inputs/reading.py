"""From the inputs of a study to the prompts that a model reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.studies.inputs.of_file import file_prompts
from workbench.studies.inputs.of_task import task_prompts
from workbench.studies.inputs.of_text import text_prompts
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.inputs.splitting import divided

if TYPE_CHECKING:
    from workbench.model import HookedModel
    from workbench.studies.schema.study import Study


def read_prompts(study: Study, model: HookedModel, base: Path) -> list[Prompt]:
    """The prompts of a study as a model reads them (tokenizers differ), numbered and split.

    Args:
        base: the folder of the study file, which paths are relative to.

    Raises:
        InputError: a task, file or prompt that makes no sense for this model; every message is one sentence.
    """
    from workbench.studies.schema.study import TaskInputs, TextInputs

    inputs = study.inputs
    if isinstance(inputs, TaskInputs):
        prompts = task_prompts(inputs, model, study.seed)
    elif isinstance(inputs, TextInputs):
        prompts = text_prompts(inputs, model, base)
    else:
        prompts = file_prompts(inputs, model, base)
    return numbered(divided(prompts, inputs.split, study.seed))


def numbered(prompts: list[Prompt]) -> list[Prompt]:
    """Prompts told apart by a number where they are equal."""
    seen: dict[str, int] = {}
    found = []
    for prompt in prompts:
        number = seen.get(prompt.prompt_id, 0)
        seen[prompt.prompt_id] = number + 1
        found.append(replace(prompt, number=number))
    return found
