from collections.abc import Callable
from functools import cache

import pytest

import workbench as wb
from workbench.model import HookedModel


@pytest.fixture(scope="session")
def zoo() -> Callable[[str], HookedModel]:
    """Members of the zoo, each loaded once."""
    return cache(lambda name: wb.load(f"zoo:{name}"))
