"""The studies of a workspace: which there are, how far they are, what they found."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from workbench.app.serving import Workspace
from workbench.app.serving.study_runs import RUNS
from workbench.errors import InputError
from workbench.report import Page
from workbench.studies import compare_studies, effects_table, read_results, study_status
from workbench.studies.report.comparison import comparison_page
from workbench.studies.report.page import study_page
from workbench.studies.store.locking import is_running
from workbench.studies.store.schema import JOURNAL
from workbench.studies.store.status import Status, duration

FILES = ("*.yaml", "*.yml", "studies/*.yaml", "studies/*.yml")
"""Where study files of a workspace are looked for."""

KEYS = ("models", "inputs", "edits", "metrics")
"""Keys of a study; a file that has two of them is one, perhaps with faults, and other YAML lies about everywhere."""

_KEY = re.compile(rf"^({'|'.join(KEYS)})\s*:".encode(), re.MULTILINE)

_READ = 65_536
"""Bytes of a file in which its keys are looked for."""

EXAMPLE = """version: 1
name: which-heads-copy
question: Which heads does copying depend on?
seed: 1
models: ["zoo:attention"]
inputs:
  task: repeated_random_tokens # two copies of random tokens
  settings: {block: 16}
  labels: [second] # the first copy cannot be predicted; score the second
  count: 12
edits:
  - {name: heads, sites: heads, method: mean} # every head by itself
metrics: [loss, accuracy]
"""
"""A study to begin with: sixteen heads, half a minute."""


@dataclass(frozen=True)
class Listed:
    """A run in the workspace.

    Attributes:
        name: of its folder below `RUNS`.
        status: where it stands; None where its folder cannot be read, and `refused` says why.
        planning: whether somebody runs it who has not planned it yet.
        launched: when a process that is to run it was started here and is there yet, ISO 8601 in UTC; else None.
    """

    name: str
    status: Status | None
    refused: str = ""
    planning: bool = False
    launched: str | None = None

    @property
    def starting(self) -> bool:
        """Whether a process is there that has not come to the study yet, rather than one that is done with it."""
        if self.launched is None or self.planning:
            return False
        if self.status is None:
            return True
        return not self.status.running and (self.status.began is None or self.status.began < self.launched)

    @property
    def going(self) -> bool:
        """Whether somebody runs it now."""
        return self.planning or self.starting or (self.status is not None and self.status.running)

    @property
    def state(self) -> str:
        """In a word or a sentence."""
        if self.planning:
            return "planning"
        if self.starting:
            return "starting"
        if self.status is None:
            return self.refused
        if self.status.running:
            return "running"
        if self.status.finished:
            failed = self.status.coverage.failed
            return f"done, {failed:,} units failed" if failed else "done"
        return {"done": "not finished", None: "never run"}.get(self.status.ended, self.status.ended or "")

    @property
    def share(self) -> float:
        """Of the units that are planned so far, those that are measured."""
        covered = None if self.status is None else self.status.coverage
        return covered.done / covered.planned if covered is not None and covered.planned else 0.0

    @property
    def progress(self) -> str:
        """Units and time left, in words."""
        if self.status is None:
            return ""
        covered, left = self.status.coverage, self.status.seconds_left
        told = f"{covered.done:,} of {covered.planned:,} units"
        if self.status.running and left is not None and covered.pending:
            told += f", {duration(max(left, 1.0))} left for what is planned"
        elif self.status.running and covered.pending:
            told += ", time left not known yet"
        return told


def runs_of(workspace: Workspace, launched: Callable[[Path], str | None] = lambda folder: None) -> list[Listed]:
    """The runs of a workspace, the newest first; opened to read only.

    Args:
        launched: by a folder, when a process that is there yet was started for it (`StudyRuns.launched`).
    """
    folder = workspace.inside(RUNS)
    if not folder.is_dir():
        return []
    places = [place for place in sorted(folder.iterdir()) if (place / JOURNAL).is_file()]
    inside = [place for place in places if place.resolve().is_relative_to(workspace.root)]
    found = [_listed(workspace, place, launched(place)) for place in inside]
    return sorted(found, key=lambda run: (run.status and run.status.began) or "", reverse=True)


def _listed(workspace: Workspace, place: Path, launched: str | None) -> Listed:
    try:
        return Listed(place.name, study_status(workspace.inside(place)), launched=launched)
    except InputError as error:
        said = str(error).replace(f"{workspace.root}{os.sep}", "")
        return Listed(place.name, None, said, planning=is_running(place), launched=launched)


def files_of(workspace: Workspace) -> list[str]:
    """Study files of a workspace, by their paths in it: the newest first, of one second by their names."""
    found = [file for pattern in FILES for file in workspace.root.glob(pattern) if file.is_file()]
    inside = [file for file in found if file.resolve().is_relative_to(workspace.root)]
    dated = [
        (changed, str(file.relative_to(workspace.root))) for file in inside if (changed := _study_of(file)) is not None
    ]
    return [name for _, name in sorted(dated, key=lambda one: (-one[0], one[1]))]


def _study_of(file: Path) -> int | None:
    """The second in which a study file was changed; None for a file that is none."""
    try:
        stat = file.stat()
        return int(stat.st_mtime) if _has_keys(file, stat.st_mtime_ns, stat.st_size) else None
    except OSError:  # not ours to read, or gone meanwhile
        return None


@lru_cache(maxsize=4096)
def _has_keys(file: Path, changed: int, size: int) -> bool:
    """Whether a file, as it was at that time, has keys of a study; read once, for a page is drawn again and again."""
    with file.open("rb") as opened:
        return len(set(_KEY.findall(opened.read(_READ)))) >= 2


def runs_table(runs: Sequence[Listed]) -> pd.DataFrame:
    """One row a run, for people."""
    rows = []
    for run in runs:
        status = run.status
        versions = json.loads(status.versions) if status is not None and status.versions else {}
        told = [f"{name} {versions[name]}" for name in ("workbench", "torch") if name in versions]
        rows.append(
            {
                "run": run.name,
                "question": "" if status is None else status.question,
                "models": "" if status is None else ", ".join(status.models),
                "state": run.state,
                "units": run.progress,
                "started": "" if status is None or status.began is None else status.began[:16].replace("T", " "),
                "versions": ", ".join(told),
            }
        )
    return pd.DataFrame(rows, columns=["run", "question", "models", "state", "units", "started", "versions"])


@dataclass(frozen=True)
class Found:
    """What a run has found so far.

    Attributes:
        page: its report: sentences, tables, figures.
        effects: `effects_table` of it.
        units: every number: a unit and metric a row.
    """

    page: Page
    effects: pd.DataFrame
    units: pd.DataFrame


def found_in(folder: Path) -> Found:
    """The results of a run, as its report has them. Raises InputError where the folder holds no study."""
    results = read_results(folder)
    effects = effects_table(results)
    return Found(study_page(results, effects, [], {}), effects, results.frame)


def found_code(folder: str) -> str:
    """Python for `found_in`."""
    return (
        "from pathlib import Path\n\n"
        "from workbench.studies import effects_table, read_results\n\n"
        f"results = read_results(Path({folder!r}))  # may be running meanwhile\n"
        "effects = effects_table(results)  # an edit and metric a row: effect, low, high, p, q, controls, ...\n"
        "units = results.frame  # every number\n"
    )


@dataclass(frozen=True)
class Compared:
    """Two runs side by side: `page`, and the `differences` of `compare_studies`."""

    page: Page
    differences: pd.DataFrame


def compared(first: Path, second: Path) -> Compared:
    """Two runs side by side. Raises InputError where they have no metric or entry of edits in common."""
    a, b = read_results(first), read_results(second)
    differences = compare_studies(a, b)
    return Compared(comparison_page(a, b, differences, {}), differences)


def compared_code(first: str, second: str) -> str:
    """Python for `compared`."""
    return (
        "from pathlib import Path\n\n"
        "from workbench.studies import compare_studies, read_results\n\n"
        f"a, b = read_results(Path({first!r})), read_results(Path({second!r}))\n"
        "differences = compare_studies(a, b)  # an edit and metric a row, b less a\n"
    )


def stamp(folder: Path) -> tuple[int, ...]:
    """What changes whenever a run has stored something: a part of the key of its results."""
    files = (folder / JOURNAL, folder / f"{JOURNAL}-wal")
    return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
