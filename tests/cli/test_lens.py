import json
from pathlib import Path

import pytest

import workbench as wb
from tests.cli.conftest import HOSTILE_TOKENS
from tests.workbench.test_report import Dom
from workbench.cli.texts import spread
from workbench.probes.lenses import LogitLens, evaluate_lenses, load_tuned_lens, text_windows

TEXT = "the cat sat on the mat. " * 60
SMALL = ["--steps", 4, "--batch", 2, "--length", 16, "--every", 2]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


def test_a_lens_is_trained_resumed_evaluated_and_shown(run, gpt2, text, tmp_path):
    folder = tmp_path / "lens"
    trained = run("lens", "train", gpt2, "--text", text, "--save", folder, *SMALL, "--json", tmp_path / "train.json")
    assert trained.exit_code == 0, trained.output
    assert {"config.json", "params.pt", "training.pt"} == {path.name for path in folder.iterdir()}
    found = json.loads((tmp_path / "train.json").read_text())
    assert [(row["lens"], row["depth"]) for row in found["depths"]][3:] == [("tuned lens", depth) for depth in range(3)]
    again = run("lens", "train", gpt2, "--text", text, "--save", folder, *SMALL, "--resume")
    assert again.exit_code == 0 and again.stdout == trained.stdout

    files = ["--json", tmp_path / "eval.json", "--out", tmp_path / "eval.html"]
    read = ["--text", text, "--length", 16, "--windows", 5]
    evaluated = run("lens", "eval", gpt2, "--lens", folder, *read, *files)
    assert evaluated.exit_code == 0, evaluated.output
    model = wb.load(gpt2)
    want = evaluate_lenses([LogitLens(model), load_tuned_lens(folder, model)], spread(text_windows(model, TEXT, 16), 5))
    rows = json.loads((tmp_path / "eval.json").read_text())["depths"]
    assert [row["kl"] for row in rows] == pytest.approx(list(want["kl"]), abs=1e-6)
    assert Dom((tmp_path / "eval.html").read_text()).text["h1"] == [f"Lenses on {gpt2}"]

    prompt = f"the cat {HOSTILE_TOKENS[0]} sat"
    shown = run("lens", "show", gpt2, prompt, "--lens", folder, "--out", tmp_path / "show.html")
    assert shown.exit_code == 0, shown.output
    assert "logit lens" in shown.stdout and "tuned lens" in shown.stdout
    page = Dom((tmp_path / "show.html").read_text())
    assert page.text["h2"][:2] == ["Logit lens", "Tuned lens"]
    assert "<script>alert" not in (tmp_path / "show.html").read_text()


def test_one_row_of_text_has_no_interval_and_shows_none(run, gpt2, text):
    alone, two = (run("lens", "eval", gpt2, "--text", text, "--length", 16, "--windows", rows) for rows in (1, 2))
    assert alone.exit_code == 0, alone.output
    assert "nan" not in alone.stdout and "–" not in alone.stdout and "–" in two.stdout


def test_wrong_lenses_and_texts_end_with_one_sentence(refused, gpt2, text, tmp_path):
    assert "no tuned lens in" in refused("lens", "show", gpt2, "the cat", "--lens", tmp_path)
    assert "cannot be read" in refused("lens", "eval", gpt2, "--text", tmp_path / "missing.txt")
    text.write_text("the cat")
    assert "The text holds 0 rows of" in refused(
        "lens", "train", gpt2, "--text", text, "--save", tmp_path / "lens", *SMALL
    )
