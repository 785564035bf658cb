"""From what a user typed to studies and their folders."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.studies import Study

RUNS = Path("study-runs")


@dataclass(frozen=True)
class Opened:
    """A study that was read.

    Attributes:
        folder: where its results go.
        base: what its paths are relative to.
        source: the file it was read from.
    """

    study: Study
    folder: Path
    base: Path
    source: Path


def open_study(file: Path, overrides: Sequence[str], out: Path | None, several: bool, trust_python: bool) -> Opened:
    """Read a study file.

    Raises:
        InputError: see `workbench.studies.read_study` and `workbench.studies.python_study`.
    """
    from workbench.studies import python_study, read_study

    read = python_study if file.suffix == ".py" and trust_python else read_study
    study = read(file, overrides)
    folder = RUNS / study.name if out is None else out / study.name if several else out
    return Opened(study, folder, file.absolute().parent, file)


def open_folder(folder: Path, overrides: Sequence[str]) -> Opened:
    """The study of a folder, as it was run there last.

    Raises:
        InputError: the folder holds no study, or what it holds cannot be read.
    """
    from workbench.studies import read_study
    from workbench.studies.store.reader import JournalReader

    with closing(JournalReader(folder)) as journal:
        base = journal.meta("base")
    file = folder / "study.yaml"
    if base is None or not file.is_file():
        raise InputError(f"{folder} holds no study that was planned to the end; workbench study run FILE begins it.")
    return Opened(read_study(file, overrides), folder, Path(base), file)
