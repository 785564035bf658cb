"""How fast a study goes, and how long the rest takes: from what its journal has of the last run."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from workbench.studies.store.schema import TABLES
from workbench.studies.store.status import _pace, duration


@pytest.fixture
def journal():
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(TABLES)
        yield database


def began(database, run, seconds_ago, ended_ago=None):
    start, end = (
        None if ago is None else (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
        for ago in (seconds_ago, ended_ago)
    )
    database.execute("insert into runs values (?, ?, ?, null, 'here', 1, 'local', 1, '', '')", (run, start, end))
    database.execute("insert into attempts values (?, ?, 'here', 1, 'cpu', 1, '')", (run, run))


def chunks(database, state, sizes_and_macs, attempt=None):
    for size, macs in sizes_and_macs:
        number = database.execute("select count(*) from chunks").fetchone()[0]
        database.execute(
            "insert into chunks values (?, ?, 'm', 0, ?, 1, null, '[]', '[]', '[]', ?, ?, 1.0, ?)",
            (str(number), number, state, size, macs, attempt),
        )


def test_the_rate_is_of_the_last_run_and_the_time_left_goes_by_work_and_not_by_units(journal):
    began(journal, 1, 1000, 900)
    chunks(journal, "done", [(50, 5e9)], attempt=1)
    began(journal, 2, 60, 20)
    chunks(journal, "done", [(10, 3e9), (10, 1e9)], attempt=2)
    chunks(journal, "pending", [(100, 2e9), (1, 6e9)])
    rate, left = _pace(journal, running=False)
    assert rate == pytest.approx(20 / 40) and left == pytest.approx(8e9 / (4e9 / 40))


def test_a_run_that_goes_on_is_timed_until_now(journal):
    began(journal, 1, 100)
    chunks(journal, "done", [(10, 1e9)], attempt=1)
    rate, left = _pace(journal, running=True)
    assert rate == pytest.approx(0.1, rel=0.05) and left == 0


def test_there_is_no_pace_before_the_first_unit_nor_of_a_run_that_was_killed(journal):
    assert _pace(journal, running=True) == (None, None)
    began(journal, 1, 100)
    chunks(journal, "pending", [(10, 1e9)])
    assert _pace(journal, running=True) == (None, None)
    chunks(journal, "done", [(10, 1e9)], attempt=1)
    assert _pace(journal, running=True) != (None, None) and _pace(journal, running=False) == (None, None)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "about 0 s"), (89, "about 89 s"), (120, "about 2 min"), (5400, "about 1.5 h")]
)
def test_time_for_people(seconds, text):
    assert duration(seconds) == text
