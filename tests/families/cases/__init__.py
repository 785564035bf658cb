"""One file a family, each with `CASES`: what the contract suite needs to know about a family, and nothing more."""

from __future__ import annotations

import importlib
import pkgutil

from tests.families.case import Case


def every_case() -> dict[str, Case]:
    """All cases by name, sorted by file."""
    found: dict[str, Case] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        cases: dict[str, Case] = importlib.import_module(f"{__name__}.{module.name}").CASES
        repeated = found.keys() & cases.keys()
        assert not repeated, f"two files describe {sorted(repeated)}"
        found |= cases
    return found
