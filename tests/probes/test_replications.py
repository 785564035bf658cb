"""The table of replications: what a row is, what a stopped run keeps, and what the committed results say."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import real_inputs
from workbench.cli.application import app
from workbench.errors import InputError
from workbench.probes import replications
from workbench.probes.replications import Outcome, Replication, Result, registry
from workbench.probes.replications.rows import finders
from workbench.saes.replications import replications as whole_table

REPOSITORY = Path(__file__).parents[2]
whole_table()  # registers the real rows before a test puts others in their place


def row(name: str, run: registry.Run | None = None, missing: str = "") -> Replication:
    return Replication(name, "Features", f"Paper of {name}", "a | shape", "call()", run, missing)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three rows instead of the real ones; which of them ran."""
    ran: list[str] = []

    def runs(name: str) -> registry.Run:
        def run() -> Outcome:
            ran.append(name)
            return Outcome(f"{name} found", name == "first", {"score": 0.5})

        return run

    table = {name: row(name, runs(name)) for name in ("first", "second")}
    monkeypatch.setattr(registry, "_ROWS", {**table, "third": row("third", missing="a model that is not here")})
    return ran


def test_a_run_goes_on_where_it_stopped_and_writes_the_table(rows: list[str], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path)]
    first = CliRunner().invoke(app, ["replicate", "first", *out])
    assert first.exit_code == 0 and rows == ["first"]
    assert "not run yet" in (tmp_path / "replications.md").read_text()
    CliRunner().invoke(app, ["replicate", "--all", *out])
    assert rows == ["first", "second"]
    table = (tmp_path / "replications.md").read_text()
    assert "| first found | a \\| shape | yes |" in table
    assert "| second found | a \\| shape | **no** |" in table
    assert "cannot run here: a model that is not here" in table
    CliRunner().invoke(app, ["replicate", "first", "--again", *out])
    assert rows == ["first", "second", "first"]


def test_without_a_folder_the_table_is_shown_and_nothing_written(
    rows: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["replicate", "--all"], terminal_width=160)
    assert answer.exit_code == 0 and rows == ["first", "second"]
    assert "second found" in answer.stdout and "a | shape" in answer.stdout
    assert not [*tmp_path.iterdir()]


def test_a_row_whose_model_is_missing_does_not_stop_the_others(
    rows: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> Outcome:
        raise InputError("The model is not here; fetch it.")

    monkeypatch.setitem(registry._ROWS, "first", row("first", absent))
    answer = CliRunner().invoke(app, ["replicate", "--all", "--out", str(tmp_path)])
    assert answer.exit_code == 0 and rows == ["second"]
    assert "first is left out: The model is not here" in answer.stderr
    assert CliRunner().invoke(app, ["replicate", "first"]).exit_code == 2


def test_the_row_about_a_real_model_says_how_to_fetch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="`make inputs` fetches it"):
        finders.smollm2()
    assert Path(finders.SMOLLM2).name == real_inputs.FILE_NAME


def test_a_broken_result_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "first.json").write_text("{")
    assert replications.load("first", tmp_path) is None
    assert replications.load("absent", tmp_path) is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["frist"], "No replication is called 'frist'; there is: first"),
        (["third"], "third cannot run here: a model that is not here"),
        ([], "Name the rows to run"),
    ],
)
def test_what_cannot_be_run_gets_a_sentence(
    rows: list[str], tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    answer = CliRunner().invoke(app, ["replicate", *arguments, "--out", str(tmp_path)])
    assert answer.exit_code == 2 and sentence in answer.stderr
    assert not rows


def test_the_table_holds_rows_of_both_rooms_and_each_is_found_by_name() -> None:
    sections = {one.name: one.section for one in whole_table()}
    assert sections["break-the-loop"] == sections["repeat-curse"] == "Changing a model"
    assert list(sections.values()) == sorted(sections.values(), key=registry.SECTIONS.index)
    assert replications.get_replication("repeat-curse").run is not None


def test_a_name_is_given_away_once(rows: list[str]) -> None:
    with pytest.raises(ValueError, match="Two replications are called 'first'"):
        registry.cannot_run("first", section="Features", paper="", published="", ask="", missing="")


def test_every_row_says_what_it_needs_and_the_committed_results_are_of_rows_that_exist() -> None:
    every = whole_table()
    assert all((one.run is None) == bool(one.missing) for one in every)
    assert all(one.paper and one.published and one.ask for one in every)
    folder = REPOSITORY / "docs" / "replications"
    found = {path.stem for path in folder.glob("*.json")}
    assert found <= {one.name for one in every if one.run is not None}
    assert all(isinstance(replications.load(name, folder), Result) for name in found)
