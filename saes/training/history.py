"""How a training went, step by step: one line of JSON each in ``history.jsonl``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, LoadError
from workbench.report import write_atomically

if TYPE_CHECKING:
    import pandas as pd

FILE = "history.jsonl"


class History:
    """Rows of measures, in memory and, where there is a folder, in its ``history.jsonl`` as they come."""

    def __init__(self, folder: Path | None) -> None:
        self.file = None if folder is None else folder / FILE
        self.rows: list[dict[str, Any]] = []

    def back_to(self, step: int) -> None:
        """Take up the rows of the file up to a step; what was written after it will be done again."""
        if self.file is None:
            return
        self.rows = [row for row in _rows(self.file) if row["step"] <= step] if self.file.is_file() else []
        write_atomically(self.file, "".join(f"{json.dumps(row)}\n" for row in self.rows))

    def add(self, row: dict[str, Any]) -> None:
        """Note one row. Raises InputError where the disk is full."""
        self.rows.append(row)
        if self.file is None:
            return
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(row)}\n")
        except OSError as error:
            raise InputError(f"{self.file} could not be written: {error.strerror or error}.") from error


def training_history(folder: Path | str) -> pd.DataFrame:
    """How the training in a folder went.

    Columns are ``step``, ``vectors`` (trained on so far), ``loss``, ``explained_variance``, ``l0``, ``dead``
    (features), ``learning_rate``, ``vectors_per_second``, and one for each part of the loss.

    Raises:
        LoadError: there is no history.
    """
    import pandas as pd

    file = Path(folder) / FILE
    if not file.is_file():
        raise LoadError(f"There is no file {file}.")
    return pd.DataFrame(_rows(file))


def _rows(file: Path) -> list[dict[str, Any]]:
    """Whole lines: a process killed while it wrote leaves a part of one."""
    found = []
    for line in file.read_text("utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
