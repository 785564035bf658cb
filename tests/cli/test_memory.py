"""``workbench memory``: what it prints and writes is what the library returns."""

import json

import pytest

import workbench as wb
from tests.workbench.test_report import Dom
from workbench.cli.texts import spread
from workbench.probes import memory


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("the cat sat on the mat, and the mat sat on the cat. " * 40)
    return file


def test_memory_writes_the_numbers_of_the_library(run, gpt2, text, tmp_path):
    files = ["--json", tmp_path / "memory.json", "--out", tmp_path / "memory.html"]
    result = run("memory", gpt2, "--text", text, "--length", 32, "--windows", 3, "--width", 8, *files)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "memory.json").read_text())
    model = wb.load(gpt2)
    windows = spread(memory.text_windows(model, text.read_text(), 32), 3)
    assert found["bytes"] == memory.state_bytes(model, 32) == 2 * 32 * (32 + 32) * 4
    expected = memory.loss_by_position(model, windows, width=8)
    assert [row["loss"] for row in found["loss"]] == pytest.approx(expected["loss"].tolist(), rel=1e-5)
    function = memory.memory_function(model, windows, lags=[1, 2, 4, 8, 16])
    assert [row["value"] for row in found["memory_function"]] == pytest.approx(function["value"].tolist(), rel=1e-4)
    assert [row["norm_last"] for row in found["layers"]] == [None, None]
    assert "16384 bytes of state after 32 tokens" in result.stdout
    assert Dom((tmp_path / "memory.html").read_text()).text["h1"] == [f"Memory of {gpt2}"]


def test_a_recurrent_model_has_half_lives_and_state_norms(run, text):
    # A folder of documents is read as well as a file.
    result = run("memory", "zoo:mamba", "--text", text.parent, "--length", 24, "--windows", 2, "--json", "-")
    assert result.exit_code == 0, result.output
    layers = json.loads(result.stdout)["layers"]
    assert all(row["half_life"] > 0 and row["norm_last"] > 0 for row in layers)


def test_no_number_is_cut_short_in_a_terminal_of_80_columns(run, text):
    # The norms of this model's states have five digits.
    result = run("memory", "zoo:mamba2", "--text", text, "--length", 24, "--windows", 2)
    assert result.exit_code == 0, result.output
    assert "half" in result.stdout and "…" not in result.stdout


def test_missing_short_and_empty_texts_are_refused_in_one_sentence(refused, gpt2, text, tmp_path):
    assert "cannot be read: No such file" in refused("memory", gpt2, "--text", tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").write_text(" ")
    assert "holds no text" in refused("memory", gpt2, "--text", tmp_path / "empty.txt")
    assert "at least 8 tokens" in refused("memory", gpt2, "--text", text, "--length", 7)
