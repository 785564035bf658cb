"""What replications found: a JSON file each, so that a run can stop and go on, and one table of them all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.probes.replications.registry import SECTIONS, Outcome, Replication
from workbench.report import write_atomically

HEADER = """# Replications

Published results, asked again here, on the models that the repository ships. Small models do not repeat a paper's
numbers; what is compared is the shape: who is higher, where it peaks, what breaks what. Whether it shows is decided by
a rule in the code of the row, not by eye. Nine rules were written or changed after a first look at what came out, and
their "shows" is weaker evidence: retrieval-heads, position-heads, verbatim-memory, memory-fidelity, memory-function,
mod-10-features, sparse-autoencoders and universal-features (both after a look at autoencoders trained for a minute),
and task-arithmetic (the third setting that was tried).

Written by `workbench replicate --all` (`make replications`); the numbers are in `replications/NAME.json`.
"""


class Result(BaseModel):
    """An outcome on disk, with what is needed to repeat it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    found: str
    agrees: bool | None
    numbers: dict[str, float]
    seconds: float
    versions: dict[str, str]

    @classmethod
    def of(cls, row: Replication, outcome: Outcome, seconds: float, versions: dict[str, str]) -> Result:
        """An outcome that was just made."""
        return cls(
            name=row.name,
            found=outcome.found,
            agrees=outcome.agrees,
            numbers=outcome.numbers,
            seconds=round(seconds, 1),
            versions=versions,
        )


def save(result: Result, folder: Path) -> None:
    """Write one result, in full or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{result.name}.json", json.dumps(result.model_dump(), indent=1) + "\n")


def load(name: str, folder: Path) -> Result | None:
    """The result of that name, or None where there is none that this version understands."""
    path = folder / f"{name}.json"
    try:
        return Result.model_validate_json(path.read_text("utf-8"))
    except (FileNotFoundError, ValidationError):
        return None


def render(rows: Iterable[Replication], folder: Path) -> str:
    """The table, as Markdown."""
    rows = list(rows)
    lines = [HEADER]
    for section in SECTIONS:
        chosen = [row for row in rows if row.section == section]
        if not chosen:
            continue
        lines += [f"## {section}", "", "| result | asked here by | what came out | the paper's shape | shows |"]
        lines.append("| --- | --- | --- | --- | --- |")
        lines += [_line(row, load(row.name, folder)) for row in chosen]
        lines.append("")
    return "\n".join(lines)


def _line(row: Replication, result: Result | None) -> str:
    if row.run is None:
        found, shows = f"cannot run here: {row.missing}", "–"
    elif result is None:
        found, shows = "not run yet", "–"
    else:
        found, shows = result.found, {True: "yes", False: "**no**", None: "no shape to compare"}[result.agrees]
    cells = (row.paper, f"`{row.ask}`", found, row.published, shows)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
