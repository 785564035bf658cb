"""Lists the packages of every room; everything else about the build is in pyproject.toml.

``kernels/``, ``probes/``, ``saes/`` and ``app/`` lie beside ``workbench/`` and import as its sub-packages. Setuptools
can place a package elsewhere (``[tool.setuptools.package-dir]``) but cannot *discover* one there: ``packages.find``
reports ``kernels.delta``, never ``workbench.kernels.delta``. A list written by hand would go stale with the first
folder somebody adds, and only the wheel would notice. So each room of the table is searched and its finds are renamed.
"""

import tomllib
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
ROOMS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-dir"]


def packages() -> list[str]:
    """Return the dotted name of every folder with an ``__init__.py``, under the name it is imported by."""
    found: list[str] = []
    for name, folder in ROOMS.items():
        found.append(name)
        found.extend(f"{name}.{package}" for package in find_packages(str(ROOT / folder)))
    return found


setup(packages=packages())
