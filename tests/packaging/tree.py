"""The repository as the packaging tests see it."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

# Import name -> folder, lowest room first. Imports only go towards the front.
ROOMS = {
    name: ROOT / PROJECT["tool"]["setuptools"]["package-dir"][name]
    for name in ("workbench.kernels", "workbench", "workbench.probes", "workbench.saes", "workbench.app")
}

LEFT_BEHIND = {"__pycache__", ".ipynb_checkpoints", ".mypy_cache", ".ruff_cache"}
COMPILED = {".pyc", ".so"}


def files(room: str) -> Iterator[Path]:
    """Yield what a room holds, without what tools leave behind there."""
    for path in sorted(ROOMS[room].rglob("*")):
        if path.is_file() and path.suffix not in COMPILED and not LEFT_BEHIND.intersection(path.parts):
            yield path


def module_name(room: str, path: Path) -> str:
    parts = path.relative_to(ROOMS[room]).with_suffix("").parts
    return ".".join([room, *parts]).removesuffix(".__init__")
