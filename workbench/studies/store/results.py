"""What a study has measured so far, as tables."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.studies.edits.edit import BASELINE, CORRUPT, Edit
from workbench.studies.identity import canonical
from workbench.studies.schema.study import Study
from workbench.studies.store.coverage import Coverage, coverage
from workbench.studies.store.records import edit_of
from workbench.studies.store.schema import JOURNAL, PLAN, open_to_read, what_failed

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = [
    *("model", "family", "edit_id", "label", "layer", "size", "dose", "method", "positions", "control_of", "round"),
    *("prompt_id", "group", "split", "metric", "value", "baseline", "corrupt", "effect", "n_scored", "attempt_id"),
]


@dataclass(frozen=True)
class StudyResults:
    """Everything that a study's folder knows; `read_results` makes one.

    Attributes:
        folder: where it lies.
        study: as it was planned, overrides applied.
        plan: as ``plan.json`` has it.
        attempts: one row a worker of a run: host, device, threads, engine, versions, and how the run ended.
        coverage: how much of it is done.
        disagreements: measurements that came twice with different values: unit, metric, kept, given.
        verified: units computed a second time, plainly: unit, metric, stored, plain.
    """

    folder: Path
    study: Study
    plan: Mapping[str, Any]
    attempts: pd.DataFrame
    coverage: Coverage
    disagreements: pd.DataFrame
    verified: pd.DataFrame
    _rows: pd.DataFrame
    _edits: list[Edit]
    _prompts: pd.DataFrame

    def __repr__(self) -> str:
        return f"StudyResults({self.study.name}: {self.coverage.done:,} of {self.coverage.planned:,} units done)"

    def _repr_html_(self) -> str:
        """A card of the question and how far it is, for notebooks."""
        from workbench.report.cards import Card, render_card

        done = self.coverage
        left = {"failed": done.failed, "pending": done.pending, "not finite": sum(done.not_finite.values())}
        facts: dict[str, object] = {
            "question": self.study.question or "",
            "models": ", ".join(entry.label for entry in self.study.models),
            "metrics": ", ".join(metric.name for metric in self.study.metrics),
            "units": f"{done.done:,} of {done.planned:,} done",
            **{name: f"{count:,}" for name, count in left.items() if count},
        }
        shown = {name: value for name, value in facts.items() if value}
        return render_card(Card(f"Study {self.study.name}", shown, note="frame has a row a unit and metric."))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a unit and metric, `COLUMNS`; a unit that belongs to two families is in it twice.

        ``baseline`` is the metric of the unedited run on the same prompt, ``effect`` value - baseline, and ``corrupt``
        the metric of the unedited run on the prompt's corrupt version, where an entry patches from it. NaN stands where
        the metric was not a number. ``method`` is canonical JSON, ``positions`` None, "scored", "last" or "3,4".
        """
        import pandas as pd

        rows = self._rows
        table = (
            rows[rows["edit_id"].isin([edit.edit_id for edit in self._edits if not edit.unedited])]
            .merge(self._unedited(BASELINE), on=["model", "prompt_id", "metric"], how="left")
            .merge(self._unedited(CORRUPT), on=["model", "prompt_id", "metric"], how="left")
            .merge(self._prompts, on=["model", "prompt_id"], how="left")
            .merge(pd.DataFrame(self._described(), columns=EDIT_COLUMNS), on=["model", "edit_id"], how="inner")
        )
        table["effect"] = table["value"] - table["baseline"]
        table["dose"] = pd.to_numeric(table["dose"])  # None, where no edit has a dose, is no number of pandas'
        order = ["_model", "_edit", "_metric", "_prompt"]
        table["_model"] = table["model"].map({entry.label: i for i, entry in enumerate(self.study.models)})
        table["_metric"] = table["metric"].map({metric.name: i for i, metric in enumerate(self.study.metrics)})
        return table.sort_values(order, kind="stable", ignore_index=True)[COLUMNS]

    def _unedited(self, family: str) -> pd.DataFrame:
        """The metrics of unedited runs, in a column with the family's name."""
        ids = [edit.edit_id for edit in self._edits if edit.family == family]
        rows = self._rows.loc[self._rows["edit_id"].isin(ids), ["model", "prompt_id", "metric", "value"]]
        return rows.rename(columns={"value": family})

    def _described(self) -> list[tuple[Any, ...]]:
        return [
            (
                *(edit.model, edit.edit_id, edit.family, edit.label, edit.layer, edit.size, edit.dose),
                None if edit.method is None else canonical(edit.method),
                edit.positions
                if edit.positions is None or isinstance(edit.positions, str)
                else ",".join(map(str, edit.positions)),
                *(edit.control_of, edit.round, place),
            )
            for place, edit in enumerate(self._edits)
            if not edit.unedited
        ]


EDIT_COLUMNS = [
    *("model", "edit_id", "family", "label", "layer", "size", "dose", "method", "positions", "control_of", "round"),
    "_edit",
]


def read_results(folder: Path) -> StudyResults:
    """What a folder's study has measured so far; it may be running meanwhile.

    Raises:
        InputError: the folder holds no study, or one of another format.
    """
    import pandas as pd

    with closing(open_to_read(folder)) as database:
        try:
            # One transaction, so that all tables are of one moment.
            database.execute("begin")
            meta = {key: json.loads(value) for key, value in database.execute("select * from meta")}
            if "study" not in meta:
                raise InputError(f"{folder} holds no study yet: it has not been planned to the end.")
            study = Study.model_validate_json(meta["study"])
            rows = _frame(
                database,
                "select u.model, u.edit_id, u.prompt_id, r.metric, r.value, r.n_scored, r.attempt_id "
                "from units u join results r using (unit_id) "
                "join json_each(?) m on m.key = r.metric and m.value = r.version",
                json.dumps({metric.name: type(metric).version for metric in study.metrics}),
            )
            edits = [edit_of(text) for (text,) in database.execute("select edit from edits order by place")]
            prompts = _frame(
                database,
                'select model, prompt_id, group_id as "group", split, place as _prompt from prompts',
            )
            attempts = _frame(
                database,
                "select a.attempt_id, a.run_id, a.host, a.pid, a.device, a.threads, r.engine, r.workers, r.started_at, "
                "r.ended_at, r.ended, r.command, a.versions from attempts a join runs r using (run_id) "
                "order by a.attempt_id",
            )
            found = coverage(database)
            disagreements = _frame(database, "select unit_id, metric, kept, given from disagreements")
            verified = _frame(database, "select unit_id, metric, stored, plain from verified")
        except sqlite3.Error as error:
            raise InputError(what_failed(folder / JOURNAL, error)) from error
    rows["value"] = pd.to_numeric(rows["value"]).astype("float64")
    return StudyResults(folder, study, _plan(folder), attempts, found, disagreements, verified, rows, edits, prompts)


def _plan(folder: Path) -> Mapping[str, Any]:
    """What ``plan.json`` holds; nothing where it is missing or no JSON, since it is for reading alone."""
    try:
        found = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _frame(database: sqlite3.Connection, statement: str, *values: Any) -> pd.DataFrame:
    import pandas as pd

    rows = database.execute(statement, values)
    return pd.DataFrame(rows.fetchall(), columns=[column[0] for column in rows.description])
