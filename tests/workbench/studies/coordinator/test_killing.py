"""Runners killed anywhere: what the study comes to in the end is what it comes to undisturbed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pandas as pd
import pytest

from tests.workbench.studies.arithmetic import Inline, SumWorker, study, surveyor
from workbench.studies.coordinator import run_study
from workbench.studies.engines.protocol import Assignment, Measurement, Outcome, Work
from workbench.studies.schema.study import Run
from workbench.studies.store import export_results, read_results, study_status

KILLS = 50
PAUSE_S = 0.002

SEARCHED: dict[str, object] = {
    "inputs": {"task": "repetition", "count": 8, "split": {}},
    "edits": [
        {"name": "heads", "sites": "heads", "method": "zero"},
        {
            "name": "best",
            "sites": "heads",
            "method": "zero",
            "search": {"kind": "greedy", "k": 3},
            "controls": {"draws": 9},
        },
    ],
    "metrics": ["loss", "accuracy"],
}
"""Several rounds, each depending on the one before, and controls after the last."""


class Telling(Inline):
    """Says through a pipe which chunks are committed: those that ended before it is asked for more."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(pause_s=PAUSE_S)
        self._descriptor = descriptor
        self._told: list[str] = []

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        for chunk in self._told:
            os.write(self._descriptor, f"{chunk}\n".encode())
        self._told = []
        for outcome in super().outcomes(timeout_s):
            self._told.append(outcome.chunk_id)
            yield outcome


def run(folder: Path, engine: Callable[[Run], Inline]) -> None:
    run_study(study(**SEARCHED), folder, progress=False, surveyor=surveyor(), engine=engine)


@contextmanager
def runner(folder: Path) -> Iterator[tuple[int, int]]:
    """A process that runs the study, and the end of a pipe where it says what it has committed."""
    reading, writing = os.pipe()
    child = os.fork()  # a spawned one would load torch anew, fifty times
    if child == 0:
        code = 1
        try:
            os.close(reading)
            run(folder, Telling(writing))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    try:
        yield child, reading
    finally:
        os.close(reading)


def exported(folder: Path) -> pd.DataFrame:
    export_results(folder, folder / "export")
    return pd.read_parquet(folder / "export" / "results.parquet").drop(columns="attempt_id")


def test_killed_fifty_times_at_random_the_tables_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    # Twice: the first one imports what the others find imported.
    for folder in (tmp_path / "first", tmp_path / "undisturbed"):
        began = time.monotonic()
        run(folder, Inline(pause_s=PAUSE_S))
        takes = time.monotonic() - began
    expected = exported(tmp_path / "undisturbed")
    assert set(expected["round"]) >= {0, 1, 2} and expected["control_of"].notna().any()
    draw, kills, folders = random.Random(7), 0, 0
    while kills < KILLS:
        folder = tmp_path / f"disturbed {folders}"
        folders += 1
        acknowledged: set[str] = set()
        while True:
            with runner(folder) as (child, reading):
                time.sleep(draw.uniform(0.0, min(takes, 1.0) * 0.6))
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                told = b"".join(iter(lambda: os.read(reading, 65536), b""))
            acknowledged |= {line.decode() for line in told.split(b"\n")[:-1]}
            if not os.WIFSIGNALED(status):
                assert os.waitstatus_to_exitcode(status) == 0
                break
            kills += 1
            assert acknowledged <= done(folder)
        assert study_status(folder).finished
        pd.testing.assert_frame_equal(exported(folder), expected, check_exact=True)
        assert read_results(folder).disagreements.empty
    assert kills >= KILLS


def done(folder: Path) -> set[str]:
    """Chunks that are committed; none where the runner died before it made a journal, or before its tables."""
    if not (folder / "journal.sqlite").is_file():
        return set()
    with closing(sqlite3.connect(folder / "journal.sqlite")) as database:
        if not database.execute("select count(*) from sqlite_master").fetchone()[0]:
            return set()
        return {chunk for (chunk,) in database.execute("select chunk_id from chunks where state = 'done'")}


def test_a_reader_polls_a_running_study_and_sees_whole_chunks_and_never_fewer(tmp_path: Path) -> None:
    seen: list[int] = []
    with runner(tmp_path) as (child, _):
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            if not (tmp_path / "plan.json").exists():
                continue
            results = read_results(tmp_path)
            coverage = results.coverage
            assert len(results._rows) == 2 * coverage.done
            seen.append(coverage.done)
    assert seen == sorted(seen) and len(set(seen)) > 3
    assert study_status(tmp_path).finished


def test_a_second_runner_is_refused_with_who_the_first_one_is(tmp_path: Path) -> None:
    with runner(tmp_path) as (child, reading):
        os.read(reading, 1)
        with pytest.raises(Exception, match=f"is running already: process {child} on .*, since 20"):
            run(tmp_path, Inline())
        status = study_status(tmp_path)
        assert status.running and str(child) in status.holder and status.ended is None
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    status = study_status(tmp_path)
    assert not status.running and status.ended == "killed"
    run(tmp_path, Inline())
    assert study_status(tmp_path).finished


def test_a_chunk_that_comes_twice_with_another_value_is_told(tmp_path: Path) -> None:
    """As from a worker that was taken for dead, and from its successor, on another machine."""
    folder = tmp_path / "run"
    run(folder, Inline())
    with sqlite3.connect(folder / "journal.sqlite") as database:
        chunk = database.execute("select chunk_id from chunks order by place limit 1").fetchone()[0]
        database.execute("update chunks set state = 'pending' where chunk_id = ?", (chunk,))
    database.close()

    def elsewhere(assignment: Assignment) -> Outcome:
        whole = SumWorker(Work(study(), {}, {}, None, 1)).run(assignment)
        first, *others = whole.measurements
        moved = Measurement(first.edit_id, first.prompt_id, first.metric, first.value + 1.0, first.n_scored)
        return Outcome(assignment.chunk_id, (moved, *others))

    before = exported(folder)
    summary = run_study(study(**SEARCHED), folder, progress=False, surveyor=surveyor(), engine=Inline(elsewhere))
    assert summary.differing == 1 and "came twice with different values" in summary.text()
    told = read_results(folder).disagreements
    assert len(told) == 1 and told["given"][0] - told["kept"][0] == 1.0
    pd.testing.assert_frame_equal(exported(folder), before)
