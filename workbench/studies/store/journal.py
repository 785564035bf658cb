"""The journal of a study: what is planned, what is done, and by whom. One process writes it, in whole chunks."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from workbench.errors import InputError
from workbench.studies.edits.edit import Edit
from workbench.studies.engines.protocol import Outcome
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.store.reader import JournalReader
from workbench.studies.store.records import PlannedChunk, edit_text, prompt_text
from workbench.studies.store.schema import JOURNAL, open_to_write, what_failed

UnitName: TypeAlias = Callable[[str, str], str]
"""From an edit's id and a prompt's to the unit's, of one model."""


@dataclass(frozen=True)
class Unit:
    """A unit as it is planned; `chunk_id` is None where its results are there already."""

    unit_id: str
    model: str
    edit_id: str
    prompt_id: str
    chunk_id: str | None


class Journal(JournalReader):
    """The SQLite file of a study, opened by the one who runs it; the folder's lock has to be held.

    Every method that writes is one transaction: it happens in full or not at all.

    Raises:
        InputError: from any method, when the disk is full or fails; what was written before is whole.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, open_to_write(folder))

    # ---- what it is a study of

    def note(self, **values: Any) -> None:
        """Note JSON values."""
        with self._together():
            self._note(values)

    def begin_plan(
        self, meta: Mapping[str, Any], surveys: Mapping[str, Any], prompts: Mapping[str, Sequence[Prompt]]
    ) -> None:
        """Write down what is to be studied, in the place of what was; results stay, found again by their units."""
        with self._together():
            for table in ("meta", "surveys", "prompts", "edits", "chunks", "units"):
                self._run(f"delete from {table}")
            self._note(meta)
            self._many(
                "insert into surveys values (?, ?)", ((label, json.dumps(survey)) for label, survey in surveys.items())
            )
            self._many(
                "insert into prompts values (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (label, p.prompt_id, i, p.group, p.split, len(p.tokens), len(p.scored), prompt_text(p))
                    for label, several in prompts.items()
                    for i, p in enumerate(several)
                ),
            )

    # ---- rounds

    def add_round(
        self,
        model: str,
        number: int,
        edits: Sequence[Edit],
        units: Iterable[Unit],
        chunks: Sequence[PlannedChunk],
        finished: Mapping[str, int] | None = None,
    ) -> None:
        """Write down one round of a model: its edits, units and chunks.

        Args:
            finished: entries whose search ends here, with the round it ended in.
        """
        with self._together():
            place = self._run("select coalesce(max(place), -1) + 1 from edits").fetchone()[0]
            self._many(
                "insert or ignore into edits values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        model,
                        e.edit_id,
                        e.family,
                        e.control_of or "",
                        e.round,
                        place + i,
                        e.label,
                        repr(e.dose),
                        edit_text(e),
                    )
                    for i, e in enumerate(edits)
                ),
            )
            place = self._run("select coalesce(max(place), -1) + 1 from chunks").fetchone()[0]
            self._many(
                "insert into chunks (chunk_id, place, model, round, edit_ids, prompt_ids, metrics, size, macs) "
                "values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        chunk.chunk_id,
                        place + i,
                        model,
                        number,
                        json.dumps(chunk.edit_ids),
                        json.dumps(chunk.prompt_ids),
                        json.dumps(chunk.metrics),
                        chunk.size,
                        chunk.macs,
                    )
                    for i, chunk in enumerate(chunks)
                ),
            )
            self._many(
                "insert or ignore into units values (?, ?, ?, ?, ?)",
                ((u.unit_id, u.model, u.edit_id, u.prompt_id, u.chunk_id) for u in units),
            )
            self._note({f"rounds/{model}": number + 1, **({f"finished/{model}": finished} if finished else {})})

    # ---- chunks

    def retry_failed(self) -> int:
        """Let chunks that failed be tried again. How many there are."""
        with self._together():
            return self._run(
                "update chunks set state = 'pending', tries = 0, error = null where state = 'failed'"
            ).rowcount

    def commit(
        self,
        ended: Sequence[tuple[PlannedChunk, Outcome, int]],
        lost: Sequence[PlannedChunk],
        versions: Mapping[str, int],
        name: UnitName,
    ) -> int:
        """Store the outcomes of chunks, each in full.

        Args:
            ended: chunks that are done or have failed for good, and the attempts that did it.
            lost: chunks whose worker died, to be tried again.
            versions: of the metrics.

        Returns:
            How many of the measurements were stored before with another value; they are noted as disagreements.
        """
        with self._together():
            differing = 0
            for chunk, outcome, attempt in ended:
                for one in outcome.measurements:
                    value = None if math.isnan(one.value) else one.value
                    unit, version = name(one.edit_id, one.prompt_id), versions[one.metric]
                    added = self._run(
                        "insert or ignore into results values (?, ?, ?, ?, ?, ?)",
                        *(unit, one.metric, version, value, one.n_scored, attempt),
                    ).rowcount
                    differing += 0 if added else self._disagree(unit, one.metric, version, value, attempt)
                self._run(
                    "update chunks set state = ?, error = ?, seconds = ?, attempt_id = ?, tries = tries + 1 "
                    "where chunk_id = ?",
                    *("done" if outcome.error is None else "failed", outcome.error, outcome.seconds),
                    *(attempt, chunk.chunk_id),
                )
            for chunk in lost:
                self._run("update chunks set tries = tries + 1 where chunk_id = ?", chunk.chunk_id)
            return differing

    def _disagree(self, unit: str, metric: str, version: int, value: float | None, attempt: int) -> int:
        kept = self._run(
            "select value from results where unit_id = ? and metric = ? and version = ?", unit, metric, version
        ).fetchone()[0]
        if kept == value:
            return 0
        self._run("insert into disagreements values (?, ?, ?, ?, ?)", unit, metric, kept, value, attempt)
        return 1

    # ---- runs

    def begin_run(
        self, started: str, host: str, pid: int, engine: str, workers: int, command: str, versions: Any
    ) -> int:
        """A run begins; its number."""
        with self._together():
            # Its predecessor did not come to say how it ended.
            self._run("update runs set ended = 'killed' where ended is null")
            row = self._run(
                "insert into runs (started_at, host, pid, engine, workers, command, versions) values (?,?,?,?,?,?,?)",
                *(started, host, pid, engine, workers, command, json.dumps(versions)),
            )
            return int(row.lastrowid or 0)

    def end_run(self, run: int, at: str, how: str) -> None:
        """A run ends: ``done``, ``stopped``, or a sentence."""
        with self._together():
            self._run("update runs set ended_at = ?, ended = ? where run_id = ?", at, how, run)

    def attempt(self, run: int, host: str, pid: int, device: str, threads: int, versions: Any) -> int:
        """A worker of a run; its number."""
        with self._together():
            row = self._run(
                "insert into attempts (run_id, host, pid, device, threads, versions) values (?, ?, ?, ?, ?, ?)",
                *(run, host, pid, device, threads, json.dumps(versions)),
            )
            return int(row.lastrowid or 0)

    def add_verified(self, run: int, rows: Iterable[tuple[str, str, float, float]]) -> None:
        """Units that were computed once more, plainly: unit, metric, stored value, plain value."""
        with self._together():
            self._many(
                "insert or replace into verified values (?, ?, ?, ?, ?)",
                ((run, unit, metric, _null(stored), _null(plain)) for unit, metric, stored, plain in rows),
            )

    # ---- SQLite

    def _note(self, values: Mapping[str, Any]) -> None:
        self._many(
            "insert or replace into meta values (?, ?)", ((key, json.dumps(value)) for key, value in values.items())
        )

    @contextmanager
    def _together(self) -> Iterator[None]:
        self._run("begin immediate")
        try:
            yield
            self._run("commit")
        except BaseException:
            # A full disk ends some transactions by itself.
            if self._database.in_transaction:
                self._database.execute("rollback")
            raise

    def _many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        try:
            self._database.executemany(statement, rows)
        except sqlite3.Error as error:
            raise InputError(what_failed(self.folder / JOURNAL, error)) from error


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
