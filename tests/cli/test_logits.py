"""`workbench logits` and `workbench weights` print and write what the library returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from tests.workbench.test_report import Dom
from workbench.direct_logits.table import logit_parts
from workbench.probes.weights import singular_vectors, spectra


def test_logits_are_attributed_as_the_library_does(run: Any, gpt2: Path, tmp_path: Path) -> None:
    files = ["--json", tmp_path / "l.json", "--out", tmp_path / "l.html"]
    result = run("logits", gpt2, "the cat sat on the", "--answer", "a", "--instead", "o", "--top", 3, *files)
    assert result.exit_code == 0, result.output
    parts = logit_parts(wb.load(gpt2), "the cat sat on the", "a", "o")
    found = json.loads((tmp_path / "l.json").read_text())
    assert found["total"] == pytest.approx(float(parts.total), rel=1e-4)
    assert {row["site"] for row in found["parts"]} == set(parts.labels) >= {"embed", "L1H3", "L0.mlp", "bias"}
    assert sum(row["direct"] for row in found["parts"]) == pytest.approx(found["total"], abs=1e-5)
    largest = max(found["parts"], key=lambda row: abs(row["direct"]))["site"]
    assert largest in result.stdout and "the logit of 'a' over 'o'" in result.stdout
    assert Dom((tmp_path / "l.html").read_text()).text["h1"] == [f"Direct logit attribution in {gpt2}"]


def test_the_likeliest_token_is_explained_by_default_and_a_bad_one_refused(run: Any, refused: Any, gpt2: Path) -> None:
    result = run("logits", gpt2, "the cat", "--json", "-")
    found = json.loads(result.stdout)
    assert found["total"] == pytest.approx(float(wb.load(gpt2)("the cat")[0, -1].max()), rel=1e-4)
    assert "a logit is of one token" in refused("logits", gpt2, "the cat", "--answer", "zebra zebra")


def test_weights_of_a_head_and_of_a_layer(run: Any, refused: Any, mamba: Path, gpt2: Path, tmp_path: Path) -> None:
    files = ["--json", tmp_path / "w.json", "--out", tmp_path / "w.html"]
    result = run("weights", gpt2, "--layer", 1, "--head", 2, "--vectors", 2, "--tokens", 4, *files)
    assert result.exit_code == 0, result.output
    expected = singular_vectors(wb.load(gpt2), 1, 2, count=2, k=4)
    found = json.loads((tmp_path / "w.json").read_text())["rows"]
    assert [row["token"] for row in found] == expected["token"].tolist()
    said = " ".join(result.stdout.split())  # a long path breaks the line
    assert "bent" not in said and "OV circuit of head 2 of layer 1" in said
    result = run("weights", mamba, "--circuit", "QK", "--json", tmp_path / "q.json", "--out", tmp_path / "q.html")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "q.json").read_text())["rows"]
    table = spectra(wb.load(mamba), "QK")
    assert max(row["norm"] for row in rows) == pytest.approx(table[table["layer"] == 0]["norm"].max(), rel=1e-5)
    assert "The linear part alone" in result.stdout
    assert "Head 9 is out of range" in refused("weights", gpt2, "--head", 9)
