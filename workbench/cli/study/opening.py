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
    """The study of a folder, as it was run there last, or as its ``study.yaml`` was edited since.

    A file that nobody has edited stands for what the journal has: it leaves out defaults, and those of another version
    may be others.

    Raises:
        InputError: the folder holds no study, or what it holds cannot be read.
    """
    from workbench.studies import Study, read_study
    from workbench.studies.schema.reading import changed_study
    from workbench.studies.store.reader import JournalReader
    from workbench.studies.store.schema import STUDY

    with closing(JournalReader(folder)) as journal:
        base, noted, written = (journal.meta(key) for key in ("base", "study", "written"))
    file = folder / STUDY
    if base is None or not file.is_file():
        raise InputError(f"{folder} holds no study that was planned to the end; workbench study run FILE begins it.")
    if file.read_bytes() == (written or "").encode():
        study = changed_study(Study.model_validate_json(noted), overrides, str(file))
    else:
        study = read_study(file, overrides)
    return Opened(study, folder, Path(base), file)
