"""How a study is getting on, in a glance."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
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
            last = database.execute("select ended from runs order by run_id desc limit 1").fetchone()
        except sqlite3.Error as error:
            raise InputError(what_failed(folder / JOURNAL, error)) from error
    if "study" not in meta:
        raise InputError(f"{folder} holds no study yet: it has not been planned to the end.")
    running = is_running(folder)
    ended = last[0] if last is not None else None
    return Status(
        folder=folder,
        name=json.loads(meta["study"])["name"],
        running=running,
        holder=holder(folder),
        ended=None if running else (ended or ("killed" if last is not None else None)),
        coverage=found,
        chunks={state: chunks.get(state, 0) for state in ("pending", "done", "failed")},
        rounds={key.removeprefix("rounds/"): value for key, value in meta.items() if key.startswith("rounds/")},
        finished=bool(meta.get("searched")) and found.pending == 0,
    )
