"""How a study is getting on, in a glance."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.studies.store.coverage import Coverage, coverage
from workbench.studies.store.locking import holder, is_running
from workbench.studies.store.schema import JOURNAL, open_to_read, what_failed

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Status:
    """Where a study stands.

    Attributes:
        name: of the study.
        running: whether somebody runs it now, and `holder` who has or had it.
        ended: how the last run ended: ``done``, ``stopped``, ``killed``, a sentence, or None while it runs.
        coverage: units by what became of them.
        chunks: number of chunks by state.
        rounds: rounds planned so far, by model.
        finished: whether nothing is left to plan or to run.
        rate: units a second of the run that goes on or was the last one, loading included; None before its first unit
            and after it was killed.
        seconds_left: of the units that are planned, at that run's pace; None where there is no pace yet.
        question: what it is to answer, as its file says.
        models: their names in it, or their ids.
        began: when the last run started, ISO 8601 in UTC; None before any.
        versions: of the packages of that run, as JSON; empty before any.
    """

    folder: Path
    name: str
    running: bool
    holder: str
    ended: str | None
    coverage: Coverage
    chunks: dict[str, int]
    rounds: dict[str, int]
    finished: bool
    rate: float | None = None
    seconds_left: float | None = None
    question: str = ""
    models: tuple[str, ...] = ()
    began: str | None = None
    versions: str = ""

    def table(self) -> pd.DataFrame:
        """What there is to say, one thing a row."""
        import pandas as pd

        done = self.coverage
        rows: list[tuple[str, Any]] = [
            ("study", self.name),
            ("folder", str(self.folder)),
            ("state", f"running: {self.holder}" if self.running else self.ended or "never run"),
            ("units planned", done.planned),
            ("units done", done.done),
            ("units pending", done.pending),
            ("units failed", done.failed),
            ("results not finite", sum(done.not_finite.values())),
            ("rounds", ", ".join(f"{label} {count}" for label, count in self.rounds.items())),
            ("finished", "yes" if self.finished else "no"),
        ]
        if self.rate is not None:
            rows.append(("units a second", f"{self.rate:.3g}"))
        if self.seconds_left is not None and done.pending:
            rows.append(("time left", duration(self.seconds_left)))
        return pd.DataFrame(
            [*rows, *((f"failed: {reason}", count) for reason, count in done.reasons.items())],
            columns=["what", "value"],
        )


def study_status(folder: Path) -> Status:
    """Where the study of a folder stands; nothing is loaded and nothing waited for.

    Raises:
        InputError: the folder holds no study, or one of another format.
    """
    with closing(open_to_read(folder)) as database:
        try:
            database.execute("begin")
            meta = {key: json.loads(value) for key, value in database.execute("select * from meta")}
            found = coverage(database)
            chunks = dict(database.execute("select state, count(*) from chunks group by state").fetchall())
            last = database.execute(
                "select ended, started_at, versions from runs order by run_id desc limit 1"
            ).fetchone()
            running = is_running(folder)
            rate, left = _pace(database, running)
        except sqlite3.Error as error:
            raise InputError(what_failed(folder / JOURNAL, error)) from error
    if "study" not in meta:
        raise InputError(f"{folder} holds no study yet: it has not been planned to the end.")
    ended = last[0] if last is not None else None
    study = json.loads(meta["study"])
    return Status(
        folder=folder,
        name=study["name"],
        running=running,
        holder=holder(folder),
        ended=None if running else (ended or ("killed" if last is not None else None)),
        coverage=found,
        chunks={state: chunks.get(state, 0) for state in ("pending", "done", "failed")},
        rounds={key.removeprefix("rounds/"): value for key, value in meta.items() if key.startswith("rounds/")},
        finished=bool(meta.get("searched")) and found.pending == 0,
        rate=rate,
        seconds_left=left,
        question=study["question"],
        models=tuple(entry["name"] or entry["id"] for entry in study["models"]),
        began=None if last is None else last[1],
        versions="" if last is None else last[2],
    )


def duration(seconds: float) -> str:
    """Time for people: ``about 40 s``, ``about 12 min``, ``about 3.5 h``."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _pace(database: sqlite3.Connection, running: bool) -> tuple[float | None, float | None]:
    """Units a second of the last run, and the seconds that what is pending takes at its multiplications a second."""
    run = database.execute("select run_id, started_at, ended_at from runs order by run_id desc limit 1").fetchone()
    if run is None or (run[2] is None and not running):
        return None, None
    number, began, ended = run
    units, macs = database.execute(
        "select coalesce(sum(c.size), 0), coalesce(sum(c.macs), 0.0) from chunks c join attempts a using (attempt_id) "
        "where a.run_id = ? and c.state = 'done'",
        (number,),
    ).fetchone()
    pending = database.execute("select coalesce(sum(macs), 0.0) from chunks where state = 'pending'").fetchone()[0]
    end = datetime.now(UTC) if ended is None else datetime.fromisoformat(ended)
    took = max((end - datetime.fromisoformat(began)).total_seconds(), 1.0)  # times are whole seconds
    return (units / took, pending / (macs / took)) if units and macs else (None, None)
