"""Peers that need an environment of their own, and what is in it.

Such an environment lies under .matrix/ and differs from the one this runs in by the packages named here; a race that
needs it runs all its sides in it, ours too, so that they still alternate in one process.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from benchmarks import ROOT
from benchmarks.race import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Sequence

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "mambapy": ("mambapy==1.2.0",),
    "fla": ("flash-linear-attention==0.6.0", "fla-core==0.6.0"),
    # TransformerLens' state-space hooks reach into the mixers of this version; later ones compute past them.
    "ssm-hooks": ("transformers==5.9.0", "huggingface_hub==1.33.0", "tokenizers==0.22.2"),
    "mamba-ssm": ("mamba-ssm==2.3.2.post1", "causal-conv1d==1.7.0"),
}
# Built from source against the torch that is here, by its CUDA compiler.
_OPTIONS: dict[str, Sequence[str]] = {"mamba-ssm": ("--no-build-isolation",)}


def interpreter(environment: str | None) -> Path:
    """The Python that runs a race, made on first use.

    Raises:
        CannotMeasure: the environment cannot be made here; the message holds the last line of what pip said.
    """
    if environment is None:
        return Path(sys.executable)
    make = _environments().overlay
    try:
        python: Path = make(environment, ENVIRONMENTS[environment], _OPTIONS.get(environment, ()))
    except subprocess.CalledProcessError as failed:
        said = (failed.stderr or "").strip().splitlines()
        wanted = " ".join(ENVIRONMENTS[environment])
        raise CannotMeasure(f"pip cannot install {wanted} here: {said[-1] if said else failed}") from failed
    return python


def versions(environment: str) -> dict[str, str]:
    """The packages that the environment has in a version of its own."""
    return {name: version for name, _, version in (wanted.partition("==") for wanted in ENVIRONMENTS[environment])}


def load(module: str, what: str) -> Any:
    """A module of a peer.

    Raises:
        CannotMeasure: it cannot be imported here; `what` says what it would have been for.
    """
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise CannotMeasure(f"{what} needs {module}, which cannot be imported here: {missing}") from missing


def _environments() -> ModuleType:
    # By its path: the root is not on the import path here (see benchmarks/__init__.py).
    spec = importlib.util.spec_from_file_location("benchmarks_environments", ROOT / "tests" / "environments.py")
    if spec is None or spec.loader is None:
        raise CannotMeasure(f"{ROOT} holds no tests/environments.py, which makes environments.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
