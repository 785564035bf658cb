from collections.abc import Callable
from functools import cache

import pytest

import workbench as wb
from workbench.model import HookedModel
from workbench.studies.inputs.of_task import task_prompts
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.schema.study import TaskInputs


@pytest.fixture(scope="session")
def zoo() -> Callable[[str], HookedModel]:
    """Members of the zoo, each loaded once."""
    return cache(lambda name: wb.load(f"zoo:{name}"))


@pytest.fixture(scope="session")
def prompts(zoo: Callable[[str], HookedModel]) -> list[Prompt]:
    """Three prompts of twelve tokens; every member of the zoo has the same vocabulary."""
    return task_prompts(TaskInputs(task="repeated_random_tokens", settings={"block": 6}, count=3), zoo("attention"), 0)
