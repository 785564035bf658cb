import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything imports torch: two threads are what the reference machine has, and more of them than cores can make a
# small model ten times slower. No test may reach a model hub or a telemetry server.
for variable, value in {
    "OMP_NUM_THREADS": "2",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_MODE": "disabled",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
}.items():
    os.environ.setdefault(variable, value)

# Measurements lie beside the package, not in it; importing them takes the root off the import path again.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import benchmarks  # noqa: E402, F401
from tests.runtime_types import check_calls_of  # noqa: E402

check_calls_of("workbench")

import pytest  # noqa: E402

from tests import real_inputs  # noqa: E402

if TYPE_CHECKING:
    from workbench.model import HookedModel

ONE_WORKER = {"browser": {"explorer", "chromium"}, "smollm2": {"smollm2", "smollm2_directory"}, "ray": {"ray"}}
"""Fixtures that take long to make, or that only one process may have, by a name for them: of parallel workers one runs
all tests that take any of them."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        for name, fixtures in ONE_WORKER.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.xdist_group(name))
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="This machine has no CUDA device."))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Let no test depend on the ones before it for its random numbers."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def smollm2_directory() -> Path:
    """A folder with ``real_inputs.FILE_NAME`` in it: a real Llama-architecture model of 135 million parameters."""
    try:
        return real_inputs.smollm2_directory()
    except real_inputs.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def smollm2(smollm2_directory: Path) -> "HookedModel":
    """That model; leave it as it was."""
    from workbench import load

    return load(smollm2_directory / real_inputs.FILE_NAME, check=False)
