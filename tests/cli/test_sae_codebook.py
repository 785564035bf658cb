import json
from pathlib import Path

import pytest

import workbench as wb
from workbench.saes import Codebook, TextSource, code_table

TEXT = "Fellow citizens of the Senate and of the House of Representatives, the state of the union is good. " * 20


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


def test_a_codebook_is_trained_told_and_judged_beside_baselines(run, text, tmp_path):
    book, files = tmp_path / "book.safetensors", ["--json", tmp_path / "book.json"]
    sizes = ["--codes", 40, "-k", 3, "--steps", 6, "--batch", 64, "--length", 32, "--tokens", 100, "--top", 4]
    made = run("sae", "codebook", "zoo:gla", "--layer", 1, "--text", text, "--save", book, *sizes, *files)
    assert made.exit_code == 0, made.output
    loaded = Codebook.load(book)
    assert (loaded.hook, loaded.k, len(loaded.codes)) == ("blocks.1.hook_resid_post", 3, 40)
    model = wb.load("zoo:gla")
    table = code_table(model, loaded, TextSource(text, 32, seed=0), tokens=100)
    found = json.loads((tmp_path / "book.json").read_text())
    assert [row["count"] for row in found["codes"]] == list(table["count"])
    unused = int((table["count"] == 0).sum())
    assert f"40 codes of 128 numbers, 3 a vector; {unused} are chosen at none" in " ".join(made.stdout.split())

    judged = run("sae", "eval", "zoo:gla", book, "--text", text, "--length", 24, "--windows", 8, "--json", "-")
    assert judged.exit_code == 0, judged.output
    scores = {row["autoencoder"]: row for row in json.loads(judged.stdout)["scores"]}
    assert scores["book"]["l0"] == 3
    assert scores["model"]["loss"] < scores["book"]["loss"] < scores["zero ablation"]["loss"]


def test_what_cannot_be_a_codebook_is_one_sentence(refused, text, tmp_path):
    asked = ["sae", "codebook", "zoo:gla", "--text", text]
    assert "is to be a .safetensors file" in refused(*asked, "--save", tmp_path / "book.pt")
    assert "does not exist" in refused(*asked, "--save", tmp_path / "no" / "book.safetensors")
    small = ["--save", tmp_path / "book.safetensors", "--length", 16]
    assert "resid_pots" in refused(*asked, *small, "--hook", "resid_pots")
    assert "k is 9" in refused(*asked, *small, "--codes", 8, "-k", 9, "--steps", 1, "--batch", 16)
    (tmp_path / "book.safetensors").write_bytes(b"no")
    assert "book.safetensors" in refused("sae", "eval", "zoo:gla", tmp_path / "book.safetensors", "--text", text)
