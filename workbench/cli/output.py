"""Where results go: tables on the terminal, JSON and HTML in files that are there in full or not at all."""

from __future__ import annotations

import json
import math
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from workbench.report import Page

STDOUT = Path("-")


class Output:
    """Where one command puts what it found.

    Args:
        json_file: where the result goes as JSON, ``-`` for standard output (tables then go to standard error).
        html_file: the page that the command will write, checked here so that hours of work are not lost to a typo.

    Raises:
        InputError: a file could not be written at its place.
    """

    def __init__(self, json_file: Path | None = None, html_file: Path | None = None) -> None:
        for file in (json_file, html_file):
            if file is not None and file != STDOUT:
                from workbench.report import check_writable

                check_writable(file)
        self.json_file, self.html_file = json_file, html_file
        self.console = _console(stderr=json_file == STDOUT)
        self.errors = _console(stderr=True)

    @property
    def progress(self) -> bool:
        """Whether somebody watches: progress bars are for terminals."""
        return self.errors.is_terminal

    def note(self, text: str) -> None:
        """Say something about the run, beside the result."""
        self.errors.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)

    def wrote(self, file: Path) -> None:
        """Say where a file is."""
        self.errors.print(f"Wrote {file}", highlight=False, markup=False, soft_wrap=True)

    def write_page(self, page: Page) -> None:
        """Write the page that was asked for, and say where it is."""
        from workbench.report import write_page

        assert self.html_file is not None  # a page is made where one was asked for
        write_page(self.html_file, page)
        self.wrote(self.html_file)

    def save(self, result: Mapping[str, Any]) -> None:
        """Write the result as JSON where that was asked for, with what is needed to repeat it."""
        if self.json_file is None:
            return
        text = json.dumps(
            _finite({"command": command_line(), "versions": versions(), **result}), indent=2, allow_nan=False
        )
        if self.json_file == STDOUT:
            sys.stdout.write(text + "\n")
        else:
            from workbench.report import write_atomically

            write_atomically(self.json_file, text + "\n")
            self.wrote(self.json_file)


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["workbench", *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {name: version(name) for name in ("workbench", "torch", "transformers", "numpy")}
    return {**found, "python": platform.python_version()}


def facts(**more: str) -> dict[str, str]:
    """What a page states at its end so that a reader can repeat it."""
    return {"Command": command_line(), **more, "Versions": ", ".join(f"{k} {v}" for k, v in versions().items())}


def records(table: Any) -> list[dict[str, Any]]:
    """Rows of a DataFrame as dictionaries of plain Python values."""
    rows: list[dict[str, Any]] = table.to_dict(orient="records")
    return rows


def _console(stderr: bool) -> Console:
    import rich
    from rich.console import Console

    # Progress bars that the library draws go to rich's global console: to where people look, not into a pipe.
    rich.reconfigure(stderr=True)
    return Console(stderr=stderr)


def _finite(value: Any) -> Any:
    """Plain JSON: NaN and infinities, which JSON cannot say, become null; numpy scalars become Python's."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
