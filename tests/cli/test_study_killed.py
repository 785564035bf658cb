"""``workbench study run`` on a real model, killed with SIGKILL: what is resumed comes to the very same numbers."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from tests.workbench.studies.arithmetic import Inline
from workbench.studies.coordinator import run_study
from workbench.studies.engines.worker import Worker
from workbench.studies.schema.reading import read_study
from workbench.studies.store import export_results

STUDY = """\
version: 1
name: killed
models: ["zoo:attention"]
inputs: {task: repeated_random_tokens, settings: {block: 8}, labels: [second], count: 12}
edits:
  - {name: each, sites: heads, method: mean}
  - name: best
    sites: {kind: heads, layers: [1]}
    method: resample
    search: {kind: greedy, k: 2}
    controls: {draws: 3, match: []}
metrics: [loss, kl]
run: {batch_tokens: 64}
"""
KILLED_AT = 5, 20
"""Chunks that are done when the runner is killed: the first time, and the second."""


def done(folder: Path) -> int:
    if not (folder / "plan.json").is_file():  # the journal has all its tables by then
        return 0
    with closing(sqlite3.connect(f"file:{folder / 'journal.sqlite'}?mode=ro", uri=True)) as journal:
        return journal.execute("select count(*) from chunks where state = 'done'").fetchone()[0]


def killed(command: list[str], folder: Path, at: int) -> int:
    """Run a command until so many chunks are done, and kill it; how many it left."""
    with subprocess.Popen(command, stderr=subprocess.PIPE) as runner:
        while done(folder) < at:
            assert runner.poll() is None, runner.stderr.read().decode()
            time.sleep(0.02)
        os.kill(runner.pid, signal.SIGKILL)
    assert runner.returncode == -signal.SIGKILL
    return done(folder)


def finished(study: Path, folder: Path) -> pd.DataFrame:
    """Run what is left in this very process; the table of every number."""
    engine = Inline(worker=Worker)
    assert run_study(read_study(study), folder, base=study.parent, progress=False, engine=engine).complete
    export_results(folder, folder / "all.parquet")
    return pd.read_parquet(folder / "all.parquet").drop(columns="attempt_id")


@pytest.mark.slow
def test_a_run_killed_twice_and_resumed_gives_the_tables_of_an_undisturbed_one_bit_for_bit(tmp_path):
    study, whole, broken = tmp_path / "study.yaml", tmp_path / "whole", tmp_path / "broken"
    study.write_text(STUDY)
    expected = finished(study, whole)
    assert {"each", "best"} == set(expected["family"]) and expected["control_of"].notna().any()

    command = [sys.executable, "-m", "workbench.cli", "study"]
    first = killed([*command, "run", str(study), "--out", str(broken)], broken, KILLED_AT[0])
    second = killed([*command, "resume", str(broken)], broken, KILLED_AT[1])
    assert KILLED_AT[0] <= first < KILLED_AT[1] <= second < done(whole)

    pd.testing.assert_frame_equal(finished(study, broken), expected, check_exact=True)
