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
    # Of what it asks for, decode-clt is left out: it needs torchvision and torchaudio, and nothing raced here uses it.
    "sae-dashboard": (
        "sae-dashboard==0.8.0",
        "eindex-callum==0.1.2",
        "transformer-lens==2.17.0",
        "transformers==4.56.2",
        "tokenizers==0.22.2",
        "huggingface_hub==0.36.2",
        "datasets==3.6.0",
        "dill==0.3.8",
        "multiprocess==0.70.16",
        "fsspec==2025.3.0",
        "aiohttp==3.14.5",
        "aiohappyeyeballs==2.7.1",
        "frozenlist==1.8.0",
        "multidict==7.2.1",
        "propcache==0.5.4",
        "yarl==1.25.1",
        "numpy==1.26.4",
        "pandas==3.0.6",
        "pyarrow==18.1.0",
        "safetensors==0.4.5",
        "jaxtyping==0.2.38",
        "beartype==0.14.1",
        "typer==0.12.5",
        "rich==13.9.4",
        "dataclasses-json==0.6.7",
        "marshmallow==3.26.2",
        "typing-inspect==0.9.0",
        "matplotlib==3.11.2",
        "contourpy==1.3.3",
        "cycler==0.12.1",
        "fonttools==4.68.0",
        "kiwisolver==1.5.1",
        "pyparsing==3.3.3",
        "hf-transfer==0.1.9",
    ),
    "mamba-ssm": ("mamba-ssm==2.3.2.post1", "causal-conv1d==1.7.0"),
}
# Built from source against the torch that is here, by its CUDA compiler.
_OPTIONS: dict[str, Sequence[str]] = {"mamba-ssm": ("--no-build-isolation",), "sae-dashboard": ("--no-deps",)}


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
