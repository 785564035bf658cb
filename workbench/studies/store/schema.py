"""The journal's tables, and opening them: to write, by the one who runs the study, or to read, by anybody."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from workbench.errors import InputError

JOURNAL, PLAN, STUDY, REFERENCES = "journal.sqlite", "plan.json", "study.yaml", "references"
"""What lies in a study's folder, besides its lock, exports and reports."""

FORMAT = 1
"""Of the tables below; kept in SQLite's user_version."""

APPLICATION = 0x57425354
"""Tells a journal of a study from other SQLite files ("WBST")."""

TABLES = """
create table meta (key text primary key, value text not null) without rowid;
create table surveys (model text primary key, survey text not null) without rowid;
create table prompts (
    model text not null, prompt_id text not null, place integer not null, group_id text not null, split text not null,
    length integer not null, scored integer not null, prompt text not null,
    primary key (model, prompt_id)) without rowid;
create table edits (
    model text not null, edit_id text not null, family text not null, control_of text not null, round integer not null,
    place integer not null, label text not null, dose text not null, edit text not null,
    primary key (model, family, control_of, label, dose)) without rowid;
create index edits_by_id on edits (model, edit_id);
create table chunks (
    chunk_id text primary key, place integer not null, model text not null, round integer not null,
    state text not null default 'pending' check (state in ('pending', 'done', 'failed')),
    tries integer not null default 0, error text, edit_ids text not null, prompt_ids text not null,
    metrics text not null, size integer not null, macs real not null, seconds real, attempt_id integer) without rowid;
create index chunks_in_order on chunks (state, place);
create table units (
    unit_id text primary key, model text not null, edit_id text not null, prompt_id text not null,
    chunk_id text) without rowid;
create index units_of_chunk on units (chunk_id);
create table results (
    unit_id text not null, metric text not null, version integer not null, value real, n_scored integer not null,
    attempt_id integer not null, primary key (unit_id, metric, version)) without rowid;
create table runs (
    run_id integer primary key, started_at text not null, ended_at text, ended text, host text not null,
    pid integer not null, engine text not null, workers integer not null, command text not null,
    versions text not null);
create table attempts (
    attempt_id integer primary key, run_id integer not null, host text not null, pid integer not null,
    device text not null, threads integer not null, versions text not null);
create table disagreements (
    unit_id text not null, metric text not null, kept real, given real, attempt_id integer not null);
create table verified (
    run_id integer not null, unit_id text not null, metric text not null, stored real, plain real,
    primary key (run_id, unit_id, metric)) without rowid;
"""
"""`units.chunk_id` is null where every result was there when the unit was planned (of an earlier plan). `results.value`
is null where a metric was not a number. `attempts` has a row for every worker of a run."""


def open_to_write(folder: Path) -> sqlite3.Connection:
    """The journal of a folder, made where there is none. The caller holds the folder's lock.

    Raises:
        InputError: it is of another format, damaged, or cannot be written.
    """
    file = folder / JOURNAL
    try:
        database = sqlite3.connect(file, isolation_level=None)
        try:
            # Before anything is written: what is there may be somebody else's.
            fresh = database.execute("select count(*) from sqlite_master").fetchone()[0] == 0
            if not fresh:
                _check(file, database)
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = full")
            if fresh:
                _create(database)
        except BaseException:
            database.close()
            raise
    except sqlite3.Error as error:
        raise InputError(what_failed(file, error)) from error
    return database


def open_to_read(folder: Path) -> sqlite3.Connection:
    """The journal of a folder, which may be written to meanwhile; nothing in the folder is changed.

    Raises:
        InputError: there is none, it is of another format, damaged, or cannot be read.
    """
    file = folder / JOURNAL
    if not file.is_file():
        raise InputError(f"{folder} holds no study: it has no {JOURNAL}. `workbench study run FILE` makes one.")
    # With no log to replay, in a folder that nobody can write to: SQLite would want to make its shared memory there.
    log = file.with_name(f"{JOURNAL}-wal")
    settled = not os.access(folder, os.W_OK) and not (log.exists() and log.stat().st_size)
    address = f"file:{quote(str(file.absolute()))}?mode=ro{'&immutable=1' if settled else ''}"
    try:
        database = sqlite3.connect(address, uri=True, isolation_level=None, timeout=30.0)
        try:
            _check(file, database)
        except BaseException:
            database.close()
            raise
    except sqlite3.Error as error:
        raise InputError(what_failed(file, error)) from error
    return database


def _create(database: sqlite3.Connection) -> None:
    """All tables or none, so that whoever dies here leaves an empty file, which counts as fresh."""
    database.execute("begin immediate")
    try:
        for statement in TABLES.split(";"):
            if statement.strip():
                database.execute(statement)
        database.execute(f"pragma application_id = {APPLICATION}")
        database.execute(f"pragma user_version = {FORMAT}")
        database.execute("commit")
    except BaseException:
        if database.in_transaction:
            database.execute("rollback")
        raise


def _check(file: Path, database: sqlite3.Connection) -> None:
    """Raises InputError for a file that is no journal, or one of another format."""
    if database.execute("select count(*) from sqlite_master").fetchone()[0] == 0:
        raise InputError(f"{file} holds no study yet: its runner has not planned it.")
    application = database.execute("pragma application_id").fetchone()[0]
    found = database.execute("pragma user_version").fetchone()[0]
    if application != APPLICATION:
        raise InputError(f"{file} is an SQLite file of something else than a study; choose another folder with --out.")
    if found > FORMAT:
        raise InputError(
            f"{file} was written by a newer workbench (format {found}; this one reads {FORMAT}): upgrade workbench."
        )
    if found < FORMAT:
        raise InputError(
            f"{file} was written by a workbench from before studies were released (format {found}; this one reads "
            f"{FORMAT}): run the study again in another folder."
        )


def what_failed(file: Path, error: sqlite3.Error) -> str:
    """A sentence about an error of SQLite's: a full disk is told from a damaged file."""
    said = str(error)
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
        return f"The disk that holds {file.parent} is full. {_KEPT}"
    if code is not None and code & 0xFF == sqlite3.SQLITE_IOERR:
        reason = os.strerror(errno.EFBIG) if _at_limit(file) else "an input/output error"
        return f"{file} could not be written ({reason}). {_KEPT}"
    if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"{file} is damaged ({said}); run the study again in another folder."
    return f"{file} could not be used: {said}."


_KEPT = "What was stored before is whole; make room and run the study again, and it goes on from there."


def _at_limit(file: Path) -> bool:
    """Whether files may not grow any more by the process's own limit, which SQLite does not tell from a broken disk."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    sizes = [path.stat().st_size for path in file.parent.glob(f"{file.name}*")]
    return limit != resource.RLIM_INFINITY and max(sizes, default=0) + 65536 >= limit
