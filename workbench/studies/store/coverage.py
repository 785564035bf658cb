"""How much of a study is done, counted in its journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Coverage(Mapping[str, Any]):
    """Units that are planned, and what became of them; a mapping of its own attributes, too.

    Attributes:
        planned: units of all rounds so far, baselines included.
        done: every metric of them is stored.
        failed: their chunk failed.
        pending: still to be run.
        not_finite: results that are NaN or infinite, by metric; they are in the tables and in no average of a search.
        reasons: why chunks failed, with the number of units that it cost.
    """

    planned: int
    done: int
    failed: int
    not_finite: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        """Units still to be run."""
        return self.planned - self.done - self.failed

    def __getitem__(self, key: str) -> Any:
        if key not in set(self):
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter([*(one.name for one in fields(self)), "pending"])

    def __len__(self) -> int:
        return len(fields(self)) + 1


def coverage(database: sqlite3.Connection) -> Coverage:
    """Count the units of a journal."""
    planned = database.execute("select count(*) from units").fetchone()[0]
    states = dict(
        database.execute(
            "select coalesce(c.state, 'done'), count(*) from units u left join chunks c using (chunk_id) group by 1"
        )
    )
    reasons = database.execute(
        "select error, sum(size) from chunks where state = 'failed' group by error order by 2 desc"
    )
    undefined = database.execute(
        "select r.metric, count(*) from results r join units u using (unit_id) "
        "where r.value is null or abs(r.value) > 1.7976931348623157e308 group by r.metric"
    )
    return Coverage(
        planned=planned,
        done=states.get("done", 0),
        failed=states.get("failed", 0),
        not_finite=dict(undefined.fetchall()),
        reasons=dict(reasons.fetchall()),
    )
