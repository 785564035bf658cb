"""The page Studies reads what lies in the workspace: runs, their results, two of them; and changes nothing in it."""

import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import workbench as wb
from workbench.app.serving import Workspace
from workbench.app.serving.study_runs import RUNS, StudyRuns
from workbench.app.views.studies import (
    EXAMPLE,
    Listed,
    compared,
    compared_code,
    files_of,
    found_code,
    found_in,
    runs_of,
    runs_table,
    stamp,
)
from workbench.errors import InputError
from workbench.report import Plot, Table
from workbench.studies import compare_studies, effects_table, read_results, read_study, run_with_model
from workbench.studies.schema.reading import changed_study
from workbench.studies.store.locking import running_alone


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two runs of the example on two heads, by other methods, and a folder that is no run."""
    found = Workspace(tmp_path_factory.mktemp("workspace"))
    (found.root / "studies").mkdir()
    (found.root / "studies" / "example.yaml").write_text(EXAMPLE, encoding="utf-8")
    study = read_study(found.root / "studies" / "example.yaml", ["inputs.count=4", "edits.0.sites=[L1H0, L1H2]"])
    model = wb.load("zoo:attention")
    for name, method in (("by-mean", "mean"), ("by-zero", "zero")):
        run_with_model(changed_study(study, [f"edits.0.method={method}"], name), model, found.root / RUNS / name)
    (found.root / RUNS / "notes").mkdir()
    return found


def test_runs_are_listed_with_what_they_are(workspace: Workspace) -> None:
    runs = runs_of(workspace)
    assert {run.name for run in runs} == {"by-mean", "by-zero"}
    table = runs_table(runs).set_index("run").loc["by-mean"]
    assert table["question"] == "Which heads does copying depend on?" and table["models"] == "zoo:attention"
    assert table["state"] == "done" and table["units"] == "12 of 12 units"
    assert f"workbench {wb.__version__}" in table["versions"] and table["started"].startswith("20")
    assert all(run.share == 1.0 and not run.going for run in runs)


def test_a_run_that_is_held_is_said_to_run(workspace: Workspace) -> None:
    with running_alone(workspace.root / RUNS / "by-mean"):
        states = {run.name: run.state for run in runs_of(workspace)}
    assert states == {"by-mean": "running", "by-zero": "done"}


def test_a_process_that_has_not_come_to_its_study_is_starting_and_one_that_is_done_with_it_is_not(
    workspace: Workspace, tmp_path: Path
) -> None:
    (began,) = {run.status.began for run in runs_of(workspace) if run.status and run.name == "by-mean"}
    assert began is not None
    (later,) = [run for run in runs_of(workspace, lambda folder: "9999-12-31T00:00:00+00:00") if run.name == "by-mean"]
    assert later.going and later.state == "starting" and list(runs_table([later])["state"]) == ["starting"]
    (same,) = [run for run in runs_of(workspace, lambda folder: began) if run.name == "by-mean"]
    assert not same.going and same.state == "done"
    (tmp_path / RUNS / "new").mkdir(parents=True)
    (tmp_path / RUNS / "new" / "journal.sqlite").touch()
    (new,) = runs_of(Workspace(tmp_path), lambda folder: began)
    assert new.going and new.state == "starting"


def test_what_a_run_needs_yet_is_said_also_before_its_pace_is_known(workspace: Workspace) -> None:
    (run,) = [run for run in runs_of(workspace) if run.name == "by-mean"]
    assert run.status is not None
    half = replace(run.status.coverage, done=6)
    going = replace(run.status, running=True, ended=None, finished=False, coverage=half)
    assert Listed("a", replace(going, seconds_left=None)).progress == "6 of 12 units, time left not known yet"
    soon = Listed("a", replace(going, seconds_left=0.1))
    assert soon.progress == "6 of 12 units, about 1 s left for what is planned"


def test_a_run_that_was_not_planned_is_called_by_its_path_in_the_workspace(tmp_path: Path) -> None:
    (tmp_path / RUNS / "new").mkdir(parents=True)
    (tmp_path / RUNS / "new" / "journal.sqlite").touch()
    (run,) = runs_of(Workspace(tmp_path))
    assert run.state.startswith(f"{RUNS}/new") and str(tmp_path) not in run.state


def test_a_run_that_lies_elsewhere_is_not_listed(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / RUNS).mkdir()
    (tmp_path / RUNS / "linked").symlink_to(workspace.root / RUNS / "by-mean")
    assert runs_of(Workspace(tmp_path), StudyRuns(Workspace(tmp_path)).launched) == []


def test_a_damaged_run_is_told_beside_the_others(tmp_path: Path) -> None:
    broken = tmp_path / RUNS / "broken"
    broken.mkdir(parents=True)
    (broken / "journal.sqlite").write_bytes(b"not a database" * 100)
    (run,) = runs_of(Workspace(tmp_path))
    assert run.status is None and "damaged" in run.state
    assert list(runs_table([run])["state"]) == [run.state]


def test_results_are_those_of_the_report(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace.root / RUNS / "by-mean"
    found = found_in(folder)
    expected = effects_table(read_results(folder))
    pd.testing.assert_frame_equal(found.effects, expected)
    assert "Which heads does copying depend on?" in found.page.lead
    shown = [row for block in found.page.blocks if isinstance(block, Table) for row in block.rows]
    assert any(str(cell).startswith("L1H2") for row in shown for cell in row)
    monkeypatch.chdir(workspace.root)
    space: dict[str, Any] = {}
    exec(found_code(f"{RUNS}/by-mean"), space)
    pd.testing.assert_frame_equal(space["effects"], expected)
    pd.testing.assert_frame_equal(space["units"], found.units)


def test_two_runs_are_compared_edit_by_edit(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (workspace.root / RUNS / name for name in ("by-mean", "by-zero"))
    found = compared(first, second)
    expected = compare_studies(read_results(first), read_results(second))
    pd.testing.assert_frame_equal(found.differences, expected)
    assert {"L1H0", "L1H2"} == set(expected["label"]) and bool(expected["paired"].all())
    assert any(isinstance(block, Plot) for block in found.page.blocks)
    monkeypatch.chdir(workspace.root)
    space: dict[str, Any] = {}
    exec(compared_code(f"{RUNS}/by-mean", f"{RUNS}/by-zero"), space)
    pd.testing.assert_frame_equal(space["differences"], expected)


def test_looking_changes_no_result(workspace: Workspace) -> None:
    folder = workspace.root / RUNS / "by-zero"
    kept = ("journal.sqlite", "study.yaml", "plan.json")
    before = stamp(folder), [(folder / name).read_bytes() for name in kept]
    runs_of(workspace)
    found_in(folder)
    assert (stamp(folder), [(folder / name).read_bytes() for name in kept]) == before


def test_study_files_of_the_workspace_are_offered_and_none_outside(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text(EXAMPLE, encoding="utf-8")
    link = workspace.root / "studies" / "link.yaml"
    link.symlink_to(outside)
    try:
        assert files_of(workspace) == ["studies/example.yaml"]
    finally:
        link.unlink()


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        (EXAMPLE, True),
        (EXAMPLE.replace("metrics: [loss, accuracy]", "metrics: [loss, accurac"), True),  # its error is to be read
        (EXAMPLE.replace("edits:", "edit:"), True),
        ("site_name: a site\nplugins: !ENV [A, []]\nnav:\n  models: models.md\n  metrics: metrics.md\n", False),
        ("version: 3\nname: containers\nservices: {}\n", False),
        ("models: [a]\nmodels: [b]\n", False),
        ("", False),
        (b"\xff\xfe\x00models\x00", False),
    ],
)
def test_yaml_that_is_no_study_is_not_offered(tmp_path: Path, text: str | bytes, offered: bool) -> None:
    file = tmp_path / "one.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert files_of(Workspace(tmp_path)) == (["one.yaml"] if offered else [])


def test_a_file_that_becomes_a_study_is_offered_then(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("nothing: yet\n", encoding="utf-8")
    assert files_of(Workspace(tmp_path)) == []
    file.write_text(EXAMPLE, encoding="utf-8")
    assert files_of(Workspace(tmp_path)) == ["one.yaml"]


def test_the_newest_study_is_offered_first_and_those_of_one_second_by_name(tmp_path: Path) -> None:
    for name, changed in (("a", 10.9), ("c", 20.7), ("b", 20.2)):
        (tmp_path / f"{name}.yaml").write_text(EXAMPLE, encoding="utf-8")
        os.utime(tmp_path / f"{name}.yaml", (changed, changed))
    assert files_of(Workspace(tmp_path)) == ["b.yaml", "c.yaml", "a.yaml"]


def test_an_empty_workspace_has_no_runs_and_no_files(tmp_path: Path) -> None:
    assert runs_of(Workspace(tmp_path)) == [] and files_of(Workspace(tmp_path)) == []
    with pytest.raises(InputError, match="holds no study"):
        found_in(tmp_path)


def test_a_result_that_is_in_the_journals_log_only_is_news(workspace: Workspace, tmp_path: Path) -> None:
    """While a run stores, SQLite writes what is new beside the journal; the journal itself stays as it is for long."""
    folder = tmp_path / "run"
    shutil.copytree(workspace.root / RUNS / "by-mean", folder)
    (journal,) = folder.glob("*.sqlite")
    with sqlite3.connect(journal) as storing:
        storing.execute("pragma journal_mode = wal")
        before = stamp(folder), journal.stat().st_mtime_ns
        storing.execute("create table news (number)")
        storing.commit()
        assert journal.stat().st_mtime_ns == before[1] and stamp(folder) != before[0]
    storing.close()
