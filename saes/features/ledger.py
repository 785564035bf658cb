"""What a pass has done so far, in SQLite: what it is of, and every shard that is committed."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.saes.features.parquet import unwritten

FILE, LOCK = "store.sqlite", ".lock"
FORMAT = 1
"""Of the folder; a reader refuses another."""

_SCHEMA = """
create table if not exists info (key text primary key, value text not null);
create table if not exists shards (
    shard integer primary key, first_row integer not null, rows integer not null, tokens integer not null,
    active integer not null, sha256 text not null);
create table if not exists parts (name text, part integer, primary key (name, part));
"""


@dataclass(frozen=True)
class Shard:
    """A committed piece of the text.

    Attributes:
        shard: its number.
        first_row, rows: which rows of tokens it holds.
        tokens: tokens that were read, of those.
        active: activations that are not zero.
        sha256: of its token ids.
    """

    shard: int
    first_row: int
    rows: int
    tokens: int
    active: int
    sha256: str


class Ledger:
    """The SQLite file of a store. One process writes; any number read meanwhile.

    Args:
        folder: of the store.
        write: whether this process writes; the folder's lock has to be held (`locked`).
    """

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        self.folder, self.file = folder, folder / FILE
        if not write and not self.file.is_file():
            raise InputError(f"{folder} is no feature store: it has no {FILE}; collect_features makes one.")
        try:
            if write:
                self._database = sqlite3.connect(self.file, isolation_level=None)
                self._database.execute("pragma synchronous=full")
                self._database.executescript(_SCHEMA)
            else:
                self._database = _reading(self.file)
            self.info("format")
        except sqlite3.Error as error:
            sentence = unwritten(self.file, error) if write else f"{self.file} cannot be read: {error}."
            raise InputError(sentence) from error

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def info(self, key: str) -> Any:
        """A noted value; None where it was never noted."""
        found = self._run("select value from info where key = ?", key).fetchone()
        return None if found is None else json.loads(found[0])

    def note(self, **values: Any) -> None:
        """Note plain values, all or none."""
        with self.together():
            for key, value in values.items():
                self._run("insert or replace into info values (?, ?)", key, json.dumps(value))

    def shards(self) -> list[Shard]:
        """The committed shards, in order."""
        return [Shard(*row) for row in self._run("select * from shards order by shard").fetchall()]

    def add(self, shard: Shard) -> None:
        """Commit a shard, whose files are on disk."""
        self._run("insert into shards values (?, ?, ?, ?, ?, ?)", *asdict(shard).values())

    def has(self, name: str, part: int) -> bool:
        """Whether a part of a table is committed."""
        return self._run("select 1 from parts where name = ? and part = ?", name, part).fetchone() is not None

    def done(self, name: str, part: int) -> None:
        """Commit a part of a table, whose file is on disk."""
        self._run("insert or ignore into parts values (?, ?)", name, part)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside is there in full or not at all."""
        self._run("begin immediate")
        try:
            yield
        except BaseException:
            self._database.execute("rollback")
            raise
        self._run("commit")

    def _run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise InputError(unwritten(self.file, error)) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one who writes to a folder, which is made if it is not there.

    Raises:
        InputError: another process writes there, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be written to: {error.strerror or error}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"Another process is writing to {folder}; wait for it, or take another folder.") from error
        yield


def _reading(file: Path) -> sqlite3.Connection:
    """Open for reading; a file that cannot be written to is taken as one that nobody writes to."""
    # A process that was killed may have left a journal, which the next one to open the file folds in.
    mode = "?mode=rw" if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK) else "?mode=ro&immutable=1"
    return sqlite3.connect(file.absolute().as_uri() + mode, uri=True, isolation_level=None)
