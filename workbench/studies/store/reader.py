"""Reading the journal of a study, as whoever runs it and anybody else may."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.studies.edits.edit import Edit
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.store.records import PlannedChunk, edit_of, prompt_of
from workbench.studies.store.schema import JOURNAL, open_to_read, what_failed


class JournalReader:
    """The SQLite file of a study; it may be written to by another process meanwhile.

    Raises:
        InputError: there is no journal, or one that cannot be read.
    """

    def __init__(self, folder: Path, database: sqlite3.Connection | None = None) -> None:
        self.folder = folder
        self._database = open_to_read(folder) if database is None else database

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def meta(self, key: str) -> Any:
        """A noted value; None where it was never noted."""
        found = self._run("select value from meta where key = ?", key).fetchone()
        return None if found is None else json.loads(found[0])

    def surveys(self) -> dict[str, Any]:
        """What was found out about each model, by its name, as it was given."""
        return {label: json.loads(text) for label, text in self._run("select * from surveys")}

    def prompts(self, model: str) -> list[Prompt]:
        """The prompts of a model, in order."""
        rows = self._run("select prompt from prompts where model = ? order by place", model)
        return [prompt_of(text) for (text,) in rows]

    def edits(self, model: str) -> list[Edit]:
        """Every edit of a model that is planned so far, baselines included, in order."""
        rows = self._run("select edit from edits where model = ? order by place", model)
        return [edit_of(text) for (text,) in rows]

    def planned_units(self, model: str, number: int | None = None) -> set[str]:
        """Ids of every unit of a model that is planned so far, or of a round's."""
        if number is None:
            return {unit for (unit,) in self._run("select unit_id from units where model = ?", model)}
        rows = self._run(
            "select distinct u.unit_id from units u join edits e on e.model = u.model and e.edit_id = u.edit_id "
            "where u.model = ? and e.round = ?",
            *(model, number),
        )
        return {unit for (unit,) in rows}

    def measured(self, versions: Mapping[str, int]) -> dict[str, set[str]]:
        """Which of some metrics, in those versions, are stored of which units."""
        found: dict[str, set[str]] = {}
        for metric, version in versions.items():
            for (unit,) in self._run("select unit_id from results where metric = ? and version = ?", metric, version):
                found.setdefault(unit, set()).add(metric)
        return found

    def done_units(self) -> list[tuple[str, str, str, str]]:
        """Unit, model, edit and prompt of every unit that is measured, in a fixed order."""
        return self._run(
            "select u.unit_id, u.model, u.edit_id, u.prompt_id from units u left join chunks c using (chunk_id) "
            "where c.state is null or c.state = 'done' order by u.unit_id"
        ).fetchall()

    def stored(self, unit: str) -> dict[str, float]:
        """A unit's results in their newest versions, by metric; NaN where it was none."""
        rows = self._run("select metric, value from results where unit_id = ? order by version", unit)
        return {metric: math.nan if value is None else value for metric, value in rows}

    def values(self, model: str, metric: str, version: int) -> dict[tuple[str, str], float]:
        """A metric by edit and prompt, of one model; NaN where it was none."""
        rows = self._run(
            "select u.edit_id, u.prompt_id, r.value from units u join results r using (unit_id) "
            "where u.model = ? and r.metric = ? and r.version = ?",
            *(model, metric, version),
        )
        return {(edit, prompt): math.nan if value is None else value for edit, prompt, value in rows}

    def pending(self, model: str) -> list[PlannedChunk]:
        """The chunks of a model that are still to be run, in order."""
        rows = self._run(
            "select chunk_id, model, round, edit_ids, prompt_ids, metrics, macs from chunks "
            "where state = 'pending' and model = ? order by place",
            model,
        )
        return [
            PlannedChunk(name, of, number, _names(edits), _names(prompts), _names(metrics), macs)
            for name, of, number, edits, prompts, metrics, macs in rows
        ]

    def tries(self, chunk_id: str) -> int:
        """How often a chunk's worker has ended, one way or the other, since it was last planned or retried."""
        return int(self._run("select tries from chunks where chunk_id = ?", chunk_id).fetchone()[0])

    def _run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise InputError(what_failed(self.folder / JOURNAL, error)) from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))
