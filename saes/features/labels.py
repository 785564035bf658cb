"""What people and explainers call features: one file beside a store, that can be read while somebody writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.report import write_atomically

if TYPE_CHECKING:
    import pandas as pd

FILE = "labels.sqlite"
SOURCES = ("human", "auto")
COLUMNS = ("feature", "label", "source", "author", "detection", "fuzzing", "changed")

_ALL = f"select {', '.join(COLUMNS)} from labels order by feature"

_SCHEMA = """
create table if not exists labels (
    feature integer primary key, label text not null, source text not null, author text,
    detection real, fuzzing real, changed text not null);
create table if not exists history (
    number integer primary key autoincrement, feature integer not null, label text, source text, author text,
    detection real, fuzzing real, changed text not null);
create index if not exists history_feature on history (feature);
"""


@dataclass(frozen=True)
class Label:
    """What a feature is called.

    Attributes:
        label: in words.
        source: ``human`` or ``auto``.
        author: who, or which explainer.
        detection, fuzzing: scores of the label, where they were taken.
        changed: when, in UTC.
    """

    feature: int
    label: str
    source: str
    author: str | None = None
    detection: float | None = None
    fuzzing: float | None = None
    changed: str = ""


class LabelStore:
    """Labels in SQLite: any number of readers while one writes; every change is kept in a history.

    Args:
        file: made when the first label is set.
        features: how many there are, where that is known: labels of others are refused.
    """

    def __init__(self, file: Path | str, features: int | None = None) -> None:
        self.file, self.features = Path(file), features

    def __repr__(self) -> str:
        return f"LabelStore({self.file}, {len(self)} labels)"

    def __len__(self) -> int:
        return len(self._read("select feature from labels"))

    def set(
        self,
        feature: int,
        label: str,
        source: str = "human",
        *,
        author: str | None = None,
        detection: float | None = None,
        fuzzing: float | None = None,
    ) -> bool:
        """Call a feature something. What a person said is not replaced by what an explainer says.

        Returns:
            whether the label stands; False where a person's does.

        Raises:
            InputError: no such feature or source; an empty label; the file cannot be written.
        """
        self._check(feature, label)
        if source not in SOURCES:
            raise InputError(f"source is {source!r}; a label is one of {' or '.join(SOURCES)}.")
        return bool(self._write([Label(feature, label, source, author, detection, fuzzing)]))

    def get(self, feature: int) -> Label | None:
        """What a feature is called; None where it has no label."""
        found = self._read(f"select {', '.join(COLUMNS)} from labels where feature = ?", feature)
        return Label(**dict(zip(COLUMNS, found[0], strict=True))) if found else None

    def remove(self, feature: int) -> None:
        """Take a label away; the history keeps it. Raises InputError where there is none."""
        if self.get(feature) is None:
            raise InputError(f"Feature {feature} has no label.")
        with self._open() as database:
            database.execute("delete from labels where feature = ?", (feature,))
            database.execute("insert into history (feature, changed) values (?, ?)", (feature, _now()))

    def table(self) -> pd.DataFrame:
        """All labels: ``feature``, ``label``, ``source``, ``author``, ``detection``, ``fuzzing``, ``changed``."""
        import pandas as pd

        return pd.DataFrame(self._read(_ALL), columns=list(COLUMNS))

    def history(self, feature: int) -> pd.DataFrame:
        """Every label that a feature had, the last one first; one that was taken away leaves a row without a label."""
        import pandas as pd

        statement = f"select {', '.join(COLUMNS)} from history where feature = ? order by number desc"
        return pd.DataFrame(self._read(statement, feature), columns=list(COLUMNS))

    def export(self, file: Path | str) -> None:
        """Write all labels as ``.json`` or ``.csv``. Raises InputError for another kind of file."""
        path, table = Path(file), self.table()
        if path.suffix == ".csv":
            write_atomically(path, table.to_csv(index=False))
        elif path.suffix == ".json":
            rows = [asdict(Label(*row)) for row in self._read(_ALL)]
            write_atomically(path, json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
        else:
            raise InputError(f"Labels are written as .json or .csv, not as {path.name}.")

    def load(self, file: Path | str) -> int:
        """Take over the labels of a file that `export` wrote, or any with ``feature`` and ``label``; how many stand.

        Raises:
            InputError: there is no such file, or it is none of labels; then no label of it is taken.
        """
        path = Path(file)
        labels = [self._parsed(row, path) for row in _rows(path)]
        return self._write(labels)

    def _parsed(self, row: Mapping[str, Any], path: Path) -> Label:
        said = {name: row[name] for name in COLUMNS if row.get(name) not in (None, "")}
        try:
            feature = int(said.pop("feature"))
            label = str(said.pop("label"))
            scores = {name: float(said.pop(name)) for name in ("detection", "fuzzing") if name in said}
        except (KeyError, ValueError) as error:
            raise InputError(f"{path} holds a row that is no label: {dict(row)}.") from error
        self._check(feature, label)
        source = str(said.get("source", "human"))
        if source not in SOURCES:
            raise InputError(f"{path} says that a label of feature {feature} is of {source!r}; it is {SOURCES}.")
        return Label(feature, label, source, said.get("author"), scores.get("detection"), scores.get("fuzzing"))

    def _check(self, feature: int, label: str) -> None:
        if feature < 0 or (self.features is not None and feature >= self.features):
            most = "" if self.features is None else f" to {self.features - 1}"
            raise InputError(f"There is no feature {feature}; they go from 0{most}.")
        if not label.strip():
            raise InputError(f"The label of feature {feature} is empty; remove({feature}) takes one away.")

    def _write(self, labels: Iterable[Label]) -> int:
        stand = 0
        with self._open() as database:
            for one in labels:
                values = (one.feature, one.label, one.source, one.author, one.detection, one.fuzzing, _now())
                changed = database.execute(
                    f"insert into labels ({', '.join(COLUMNS)}) values (?, ?, ?, ?, ?, ?, ?) on conflict (feature) do "
                    "update set label = excluded.label, source = excluded.source, author = excluded.author, "
                    "detection = excluded.detection, fuzzing = excluded.fuzzing, changed = excluded.changed "
                    "where excluded.source = 'human' or labels.source = 'auto'",
                    values,
                ).rowcount
                if changed:
                    database.execute(f"insert into history ({', '.join(COLUMNS)}) values (?, ?, ?, ?, ?, ?, ?)", values)
                stand += changed
        return stand

    def _open(self) -> _Transaction:
        try:
            database = sqlite3.connect(self.file, isolation_level=None, timeout=30.0)
            database.execute("pragma journal_mode=wal")
            database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise InputError(f"{self.file} cannot be written: {error}.") from error
        return _Transaction(database, self.file)

    def _read(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        if not self.file.is_file():
            return []
        try:
            database = sqlite3.connect(self.file.absolute().as_uri() + "?mode=ro", uri=True, timeout=30.0)
            try:
                return database.execute(statement, values).fetchall()
            finally:
                database.close()
        except sqlite3.Error as error:
            raise InputError(f"{self.file} holds no labels: {error}.") from error


class _Transaction:
    """A database that is written to, all or nothing, and then let go of."""

    def __init__(self, database: sqlite3.Connection, file: Path) -> None:
        self._database, self._file = database, file

    def __enter__(self) -> sqlite3.Connection:
        self._database.execute("begin immediate")
        return self._database

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            self._database.execute("commit" if kind is None else "rollback")
        except sqlite3.Error as failed:
            raise InputError(f"{self._file} could not be written: {failed}.") from failed
        finally:
            self._database.close()


def _rows(path: Path) -> list[dict[str, Any]]:
    import csv
    import io

    try:
        with path.open(encoding="utf-8", newline="") as file:  # a label's own line ends stay as they are
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    try:
        held = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is no valid JSON: {error}.") from error
    if not isinstance(held, list) or not all(isinstance(row, dict) for row in held):
        raise InputError(f"{path} is no list of labels, each with feature and label.")
    return held


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
