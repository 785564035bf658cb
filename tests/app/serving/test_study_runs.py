"""Studies that the app starts run beside it: stopped, resumed, and with the numbers that the page showed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import workbench as wb
from workbench.app.serving import Workspace, study_runs
from workbench.app.serving.study_runs import RUNS, StudyRuns
from workbench.app.views.ablation_study import OWN_TEXT, Asking, run_ablation, study_file, write_inputs
from workbench.app.views.studies import EXAMPLE
from workbench.errors import InputError
from workbench.studies import effects_table, read_results, study_status
from workbench.studies.store.locking import is_running

PATIENCE = 180.0
"""Seconds until something must have happened; only a broken one takes as long."""


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_saved_ablation_is_started_stopped_resumed_and_agrees_with_the_page(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    asking = Asking("zoo:attention", ("L1H0", "L1H2"), "mean", OWN_TEXT, "The state of the Union is strong. " * 3)
    shown = run_ablation(wb.load("zoo:attention"), asking, workspace)
    file, folder = workspace.inside(asking.file), Path(RUNS) / asking.name
    file.parent.mkdir()
    write_inputs(asking, file.parent)
    file.write_text(study_file(shown.study, "kl"), encoding="utf-8")

    runs = StudyRuns(workspace)
    runs.start(asking.file, folder)
    assert runs.starting(folder) and runs.launched(folder) is not None
    with pytest.raises(InputError, match="running already"):
        runs.start(asking.file, folder)
    _until(lambda: is_running(tmp_path / folder))
    # Another server, as after a restart, knows it by its lock alone.
    assert StudyRuns(workspace).stop(folder)
    _until(lambda: not runs.starting(folder))
    assert not is_running(tmp_path / folder) and not StudyRuns(workspace).stop(folder)
    assert runs.launched(folder) is None and not runs.refused(folder)
    assert "Stopped." in runs.said(folder)

    runs.start(asking.file, folder)  # whatever was measured is kept
    _until(lambda: not runs.starting(folder))
    assert study_status(tmp_path / folder).finished, runs.said(folder)
    key, columns = ["label", "metric"], ["effect", "low", "high", "p_controls", "control_low", "control_high"]
    ran = effects_table(read_results(tmp_path / folder)).set_index(key).sort_index()[columns]
    pd.testing.assert_frame_equal(ran, shown.effects.set_index(key).sort_index()[columns], atol=1e-6)


def test_a_run_begins_no_earlier_than_its_process(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(EXAMPLE, encoding="utf-8")
    runs, folder = StudyRuns(Workspace(tmp_path)), Path(RUNS) / "study"
    runs.start(Path("study.yaml"), folder)
    launched = runs.launched(folder)
    _until(lambda: not runs.starting(folder))
    began = study_status(tmp_path / folder).began
    assert launched is not None and began is not None and began >= launched, runs.said(folder)


def test_a_process_that_is_stopped_before_it_listens_was_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C while it imports: Python lets the signal end it."""
    monkeypatch.setattr(study_runs, "_LAUNCH", "raise KeyboardInterrupt")
    runs, folder = StudyRuns(Workspace(tmp_path)), Path(RUNS) / "study"
    runs.start(Path("study.yaml"), folder)
    _until(lambda: not runs.starting(folder))
    assert "KeyboardInterrupt" in runs.said(folder) and not runs.refused(folder)


SERVER = """
import signal, sys
from pathlib import Path
from workbench.app.serving import Workspace
from workbench.app.serving.study_runs import StudyRuns

signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background may ignore it
StudyRuns(Workspace(Path(sys.argv[1]))).start(Path("study.yaml"), Path(sys.argv[2]))
signal.pause()
"""


@pytest.mark.parametrize("ended", [signal.SIGINT, signal.SIGTERM])
def test_a_study_outlives_the_server_that_started_it(tmp_path: Path, ended: signal.Signals) -> None:
    folder = Path(RUNS) / "study"
    (tmp_path / "study.yaml").write_text(EXAMPLE, encoding="utf-8")
    server = subprocess.Popen([sys.executable, "-c", SERVER, tmp_path, folder], start_new_session=True)
    try:
        _until(lambda: is_running(tmp_path / folder))
        os.killpg(server.pid, ended)  # as Ctrl-C in a terminal, and the end of a session, reach all that is in it
        assert server.wait(PATIENCE) != 0
        _until(lambda: not is_running(tmp_path / folder))
        assert study_status(tmp_path / folder).finished
    finally:
        server.kill()
        StudyRuns(Workspace(tmp_path)).stop(folder)


def test_nothing_outside_the_workspace_is_started(tmp_path: Path) -> None:
    runs = StudyRuns(Workspace(tmp_path / "workspace"))
    with pytest.raises(InputError, match="outside the workspace"):
        runs.start(Path("../study.yaml"), Path(RUNS) / "study")
    with pytest.raises(InputError, match="outside the workspace"):
        runs.start(Path("study.yaml"), Path("../study"))
    assert not (tmp_path / "workspace").exists()
