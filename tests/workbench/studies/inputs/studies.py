"""Studies that differ in what is read."""

from pathlib import Path
from typing import Any

from workbench.model import HookedModel
from workbench.studies.inputs import Prompt, read_prompts
from workbench.studies.schema.study import Study


def study_of(inputs: dict[str, Any], seed: int = 0) -> Study:
    edits = [{"name": "heads", "sites": "heads", "method": "zero"}]
    given = {"name": "made-up", "seed": seed, "models": ["zoo:attention"], "inputs": inputs, "edits": edits}
    return Study.model_validate({**given, "metrics": ["loss"]})


def read(inputs: dict[str, Any], model: HookedModel, base: Path = Path(), seed: int = 0) -> list[Prompt]:
    return read_prompts(study_of(inputs, seed), model, base)
