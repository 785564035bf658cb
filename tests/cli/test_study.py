"""``workbench study``: a small study from file to report; what the commands make of mistakes, failures and Ctrl-C."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.workbench.test_report import Dom
from workbench.cli import app
from workbench.errors import InputError
from workbench.studies import read_study
from workbench.studies.coordinator import Summary
from workbench.studies.store import Coverage

FILE = """\
version: 1
name: {name}
question: Which heads matter?
models: {{id: {model}, name: small}}
inputs: {{task: repeated_random_tokens, count: 2, settings: {{block: 5}}}}
edits:
  - name: heads
    sites: {{kind: heads, layers: [1], heads: [0, 1]}}
    method: zero
metrics: [loss]
"""


def write(path: Path, model: object = "zoo:gru", name: str = "small-study", more: str = "") -> Path:
    path.write_text(FILE.format(model=model, name=name) + more)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def done(home, gpt2) -> Path:
    """The folder of a study that was run by the command line: 2 heads and a baseline on 2 prompts."""
    file = write(home / "study.yaml", gpt2)
    result = CliRunner().invoke(app, ["study", "run", str(file), "--out", str(home / "done"), "--threads", "1"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "6 of 6 units are measured" in result.stdout and "workbench study report" in result.stderr
    return home / "done"


def test_what_was_run_is_in_the_folder_overrides_applied(done):
    study = read_study(done / "study.yaml")
    assert study.name == "small-study" and study.run.threads == 1
    assert {"study.yaml", "journal.sqlite"} <= {file.name for file in done.iterdir()}


def test_status_counts_units(run, done, tmp_path):
    result = run("study", "status", done, "--json", tmp_path / "status.json")
    said = " ".join(result.stdout.split())
    assert result.exit_code == 0 and "units planned 6 units done 6" in said and "finished yes" in said
    found = json.loads((tmp_path / "status.json").read_text())
    assert found["name"] == "small-study" and found["coverage"]["done"] == 6 and found["finished"] is True


def test_a_report_is_a_table_and_a_page_with_the_data_beside_it(run, done, tmp_path):
    result = run("study", "report", done, "--out", tmp_path / "page.html", "--json", tmp_path / "report.json")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "L1H0" in result.stdout and "L1H1" in result.stdout
    page = (tmp_path / "page.html").read_text()
    assert "Which heads matter?" in page and Dom(page).text["h1"]
    assert [row["label"] for row in json.loads((tmp_path / "report.json").read_text())["effects"]] == ["L1H0", "L1H1"]
    assert all(str(file) in "".join(result.stderr.split()) for file in tmp_path.glob("page*"))
    assert run("study", "report", done).exit_code == 0 and (done / "report" / "report.html").is_file()


def test_effects_of_a_study_against_itself_do_not_differ(run, done, tmp_path):
    result = run("study", "compare", done, done, "--json", tmp_path / "compared.json")
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads((tmp_path / "compared.json").read_text())["differences"]
    assert [row["label"] for row in found] == ["L1H0", "L1H1"] and all(row["difference"] == 0 for row in found)
    assert "L1H1" in result.stdout
    assert run("study", "compare", done, done, "--out", tmp_path / "compared.html").exit_code == 0
    assert Dom((tmp_path / "compared.html").read_text()).text["h1"]


def test_exports_are_the_same_numbers_in_every_format(run, done, tmp_path):
    assert run("study", "export", done, "--out", tmp_path / "a.csv").exit_code == 0
    assert run("study", "export", done, "--out", tmp_path / "a.parquet").exit_code == 0
    assert run("study", "export", done).exit_code == 0
    tables = [pd.read_csv(tmp_path / "a.csv"), pd.read_parquet(tmp_path / "a.parquet"),
              pd.read_parquet(done / "export" / "results.parquet")]  # fmt: skip
    for table in tables:
        assert list(table["label"]) == ["L1H0", "L1H0", "L1H1", "L1H1"]
        assert list(table["effect"]) == pytest.approx(list(tables[1]["effect"]), abs=1e-12)


def test_running_again_does_nothing_and_a_changed_study_is_refused_without_replan(run, refused, done, home):
    again = run("study", "run", home / "study.yaml", "--out", done)
    assert again.exit_code == 0 and "this run did 0 in" in again.stdout
    sentence = refused("study", "run", home / "study.yaml", "--out", done, "--set", "seed=1")
    assert "The study has changed" in sentence and "--replan" in sentence


def test_a_plan_counts_and_a_dry_run_writes_nothing(run, gpt2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "study.yaml", gpt2)
    for command in (["plan", "study.yaml", "--dry-run"], ["run", "study.yaml", "--dry-run"]):
        result = run("study", *command)
        assert result.exit_code == 0 and "6 units, 0 of them done" in result.stdout and "not measured" in result.stdout
        assert sorted(file.name for file in tmp_path.iterdir()) == ["study.yaml"]
    result = run("study", "plan", "study.yaml", "--json", "plan.json", "--set", "inputs.count=4")
    assert result.exit_code == 0 and "12 units" in result.stdout and "not measured" not in result.stdout
    (found,) = json.loads((tmp_path / "plan.json").read_text())["studies"]
    assert found["models"][0]["units"] == 12 and (tmp_path / "study-runs" / "small-study" / "plan.json").is_file()


def summary(folder: Path, planned: int = 6, failed: int = 0, ended: str = "done") -> Summary:
    reasons = {"the metric needs a foil": failed} if failed else {}
    coverage = Coverage(planned, planned - failed, failed, {}, reasons)
    return Summary(folder, ended, coverage, 1, planned, 1.0, 0, None, ())


@pytest.fixture
def ran(monkeypatch) -> list:
    """What `run_study` was called with, instead of running it; ``behaviour[name]`` says what comes of a study."""

    class Calls(list):
        def __init__(self):
            super().__init__()
            self.behaviour = {}

    calls = Calls()

    def fake(study, folder, **more):
        calls.append((study, folder, more))
        does = calls.behaviour.get(study.name, lambda folder: summary(folder))
        return does(folder)

    monkeypatch.setattr("workbench.studies.coordinator.run_study", fake)
    return calls


def fails(error):
    def raising(folder):
        raise error

    return raising


def test_options_are_values_of_the_study(run, ran, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "s.yaml")
    options = ["--engine", "ray", "--workers", 3, "--threads", 2, "--set", "run.retries=5", "--set", "edits.0.name=a"]
    assert run("study", "run", "sub/s.yaml", *options, "--replan").exit_code == 0
    ((study, folder, more),) = ran
    assert (study.run.engine, study.run.workers, study.run.threads, study.run.retries) == ("ray", 3, 2, 5)
    assert study.edits[0].name == "a" and folder == Path("study-runs/small-study") and more["replan"] is True
    assert more["base"] == tmp_path / "sub" and more["source"] == Path("sub/s.yaml")


def test_several_files_run_one_after_the_other_past_those_that_fail(run, ran, tmp_path):
    files = [write(tmp_path / f"{name}.yaml", name=name) for name in ("one", "two", "three", "four", "five")]
    files[1].write_text("name: two\n")
    ran.behaviour = {"three": fails(InputError("the disk is full")), "four": fails(ZeroDivisionError("ours"))}
    result = run("study", "run", *files, "--out", tmp_path / "runs", "--json", tmp_path / "all.json")
    assert [(study.name, folder) for study, folder, _ in ran] == [
        (name, tmp_path / "runs" / name) for name in ("one", "three", "four", "five")
    ]
    assert result.exit_code == 2
    assert "two.yaml:1: models: the key is missing." in result.stderr
    assert f"Error: {files[2]}: the disk is full" in result.stderr.splitlines()
    assert f"workbench study report {tmp_path / 'runs' / 'five'}" in result.stderr  # whole, to be copied
    assert "ZeroDivisionError: ours" in result.stderr and "(5 of 5)" in result.stderr
    found = json.loads((tmp_path / "all.json").read_text())["studies"]
    assert [one["ended"] for one in found] == ["done", "refused", "refused", "crashed", "done"]


def test_units_that_failed_are_counted_with_their_reason_and_make_the_status_1(run, ran, tmp_path):
    ran.behaviour = {"b": lambda folder: summary(folder, failed=2)}
    files = [write(tmp_path / f"{name}.yaml", name=name) for name in ("a", "b", "c")]
    result = run("study", "run", *files)
    assert len(ran) == 3 and result.exit_code == 1 and "2 units failed: the metric needs a foil" in result.stdout
    assert "Done: 6 of 6 units" in result.stdout and "Ended: 4 of 6 units" in result.stdout


def test_ctrl_c_says_how_to_go_on_and_ends_all(run, ran, done, tmp_path):
    files = [write(tmp_path / f"{name}.yaml", name=name) for name in ("a", "b")]
    ran.behaviour = {"a": lambda folder: summary(folder, ended="stopped"), "b": fails(KeyboardInterrupt())}
    result = run("study", "run", *files, "--out", tmp_path)
    assert result.exit_code == 130 and len(ran) == 1
    assert result.stderr.strip().splitlines()[-1] == (
        "Stopped. Nothing was measured yet; the same command begins again."
    )
    stopped = run("study", "run", files[1], "--out", done)
    assert stopped.exit_code == 130
    assert "".join(stopped.stderr.split()) == "".join(
        f"Stopped. What was measured is kept; go on with: workbench study resume {done}".split()
    )


def test_resuming_goes_on_with_the_study_of_the_folder_and_the_paths_of_its_file(run, ran, done, home):
    assert run("study", "resume", done, "--workers", 2).exit_code == 0
    ((study, folder, more),) = ran
    assert study.name == "small-study" and study.run.workers == 2 and folder == done and more["base"] == home


def test_a_folder_keeps_its_study_when_a_default_changes_and_takes_what_is_edited(run, ran, done, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(done, folder)
    text = (folder / "study.yaml").read_text()
    assert "retries" not in text
    with closing(sqlite3.connect(folder / "journal.sqlite")) as journal, journal:
        # As if it had been planned when the default was another one.
        assert journal.execute(
            "update meta set value = replace(value, '\\\"retries\\\":2', '\\\"retries\\\":7') where key = 'study'"
        ).rowcount
    assert run("study", "resume", folder, "--workers", 2).exit_code == 0
    (folder / "study.yaml").write_text(text.replace("Which heads matter?", "Which?"))
    assert run("study", "resume", folder).exit_code == 0
    (first, *_), (second, *_) = ran
    assert (first.run.retries, first.run.workers, first.question) == (7, 2, "Which heads matter?")
    assert (second.run.retries, second.run.workers, second.question) == (2, 1, "Which?")


def test_two_studies_of_one_name_do_not_share_a_folder(run, ran, tmp_path):
    files = [write(tmp_path / f"{name}.yaml", name="same") for name in ("a", "b")]
    result = run("study", "run", *files, "--out", tmp_path)
    assert result.exit_code == 2 and len(ran) == 1
    assert f"{files[1]} has the folder of {files[0]}" in result.stderr


def test_python_runs_only_where_it_is_trusted(run, refused, ran, tmp_path):
    file = tmp_path / "study_in_python.py"
    file.write_text(
        "from workbench.studies import EditsEntry, ModelEntry, Study, TaskInputs\n"
        "study = Study(name='built', models=[ModelEntry(id='zoo:gru')], inputs=TaskInputs(task='repetition'),\n"
        "              edits=[EditsEntry(name='heads', sites='heads', method='zero')], metrics=['loss'])\n"
        "import pathlib\n"
        "pathlib.Path(__file__).with_name('ran').touch()\n"
    )
    assert "--trust-python" in refused("study", "run", file) and not (tmp_path / "ran").exists() and not ran
    assert run("study", "run", file, "--trust-python", "--workers", 2).exit_code == 0
    assert ran[0][0].name == "built" and ran[0][0].run.workers == 2 and (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modles: a\n", "modles: the key is unknown; nearest: models"),
        (FILE.format(name="a", model="zoo:gru").replace("zero", "zeor"), "edits[0].method: no method is called 'zeor'"),
        (FILE.format(name="a", model="zoo:gru").replace("random", "rnadom"), "nearest: repeated_random_tokens"),
        (FILE.format(name="a", model="zoo:gru").replace("block: 5", "blocks: 5"), "has no such option; there is: "),
    ],
)
def test_mistakes_in_a_file_end_with_2_and_name_line_and_place(run, tmp_path, text, says):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    result = run("study", "plan", file)
    assert result.exit_code == 2 and says in result.stderr and f"{file}:" in result.stderr
    assert result.stdout == "" and list(tmp_path.iterdir()) == [file]


def test_what_is_not_there_is_one_sentence(refused, tmp_path):
    assert "There is no study file" in refused("study", "run", tmp_path / "none.yaml")
    for command in ("status", "resume", "report", "export"):
        assert "holds no study" in refused("study", command, tmp_path)
    assert "holds no study" in refused("study", "compare", tmp_path, tmp_path)
    assert "'FILE...'" in refused("study", "run")
    file = write(tmp_path / "s.yaml", "zoo:nobody")
    assert "nobody" in refused("study", "plan", file, "--out", tmp_path / "out")
    good = write(tmp_path / "t.yaml")
    assert "run.wrokers" in refused("study", "plan", good, "--set", "run.wrokers=2")
