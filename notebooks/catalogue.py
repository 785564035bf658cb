"""Which notebooks there are, and where their sources and results lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Notebook:
    """One notebook: a script that people edit, and the file that is made from it."""

    name: str

    @property
    def source(self) -> Path:
        """The script, in percent format."""
        return FOLDER / "sources" / f"{self.name}.py"

    @property
    def file(self) -> Path:
        """The notebook with its outputs, as committed."""
        return FOLDER / f"{self.name}.ipynb"


def all_notebooks() -> list[Notebook]:
    """Every notebook, in the order of their numbers."""
    return [Notebook(path.stem) for path in sorted((FOLDER / "sources").glob("*.py"))]


def chosen_notebooks(wanted: list[str]) -> list[Notebook]:
    """The notebooks whose names begin with one of `wanted` (``"02"``, ``"2"``), or all of them for an empty list.

    Raises:
        LookupError: a name that fits no notebook, in a sentence that lists those there are.
    """
    known = all_notebooks()
    if not wanted:
        return known
    found: list[Notebook] = []
    for name in wanted:
        prefix = name.zfill(2) if name.isdecimal() else name
        fitting = [notebook for notebook in known if notebook.name.startswith(prefix)]
        if not fitting:
            raise LookupError(
                f"No notebook is called {name}; there are {', '.join(each.name for each in known) or 'none yet'}."
            )
        found += [notebook for notebook in fitting if notebook not in found]
    return found
