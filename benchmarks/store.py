"""Rows on disk: one JSON file a row, and one table of them all; written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from benchmarks import ROOT, page
from benchmarks.races.registry import all_races
from benchmarks.records import Row, Setting
from benchmarks.table import render

RESULTS = ROOT / "benchmarks" / "results"
TABLE = "table.md"
PAGE = ROOT / "docs" / "what-it-costs.md"


def save(row: Row, folder: Path) -> None:
    """Write a row, and the tables of all rows."""
    from workbench.report import write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{row.name}.json", row.model_dump_json(indent=1) + "\n")
    write_tables(folder)


def write_tables(folder: Path) -> None:
    """Write the table of a folder's rows; of the rows in the repository also the tables of the page on costs."""
    from workbench.report import write_atomically

    found = rows(folder)
    write_atomically(folder / TABLE, render(found))
    if folder.resolve() == RESULTS:
        write_atomically(PAGE, page.filled(PAGE.read_text("utf-8"), found))


def load(name: str, folder: Path) -> Row | None:
    """The row of that name, or None where there is none that this version understands."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        return Row.model_validate_json(path.read_text("utf-8"))
    except ValidationError:
        return None


def kept(name: str, folder: Path, setting: Setting) -> Row | None:
    """The row of that name if nothing it depends on has changed since, else None."""
    row = load(name, folder)
    return row if row is not None and row.setting == setting else None


def rows(folder: Path) -> list[Row]:
    """Every row in a folder, in the order of the races; rows of races that are gone come last."""
    order = {race.name: number for number, race in enumerate(all_races())}
    names = sorted((path.stem for path in folder.glob("*.json")), key=lambda name: (order.get(name, len(order)), name))
    return [row for row in (load(name, folder) for name in names) if row is not None]
