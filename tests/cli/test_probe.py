"""``workbench probe``: tables, files and refusals of its commands."""

import csv
import json
from pathlib import Path

import pytest

from workbench.probes.linear import load_probe

ANIMALS = ("cat", "dog", "horse")
OTHERS = ("house", "law", "year")
SPEECH = "The house of the people. The great year of the law (and of the people).\n" * 40


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "kind", "number", "place"])
        for number in range(5):
            for word in (*ANIMALS, *OTHERS):
                kind = "animal" if word in ANIMALS else "other"
                writer.writerow([f"number {number} is a {word}", kind, number + 0.5, f"place {number}"])
    return path


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "speech.txt"
    path.write_text(SPEECH)
    return path


def test_fit_says_how_well_and_writes_page_json_and_probe(run, labelled, tmp_path) -> None:
    page, numbers, saved = tmp_path / "probe.html", tmp_path / "probe.json", tmp_path / "probe.safetensors"
    arguments = ("--label-column", "kind", "--group-column", "place", "--layers", "0,3")
    result = run("probe", "fit", "zoo:lstm", labelled, *arguments, "--out", page, "--json", numbers, "--save", saved)
    assert result.exit_code == 0, result.output
    assert "30 texts in 5 groups" in result.stdout and "0.500" in result.stdout
    rows = json.loads(numbers.read_text())["probes"]
    assert [row["layer"] for row in rows] == [0, 3] and all(row["accuracy"] > 0.9 for row in rows)
    assert "commonest class" in page.read_text()
    probe = load_probe(saved)
    assert probe.classes == ("animal", "other") and probe.model_name == "zoo:lstm"


def test_fit_takes_numbers_and_sparse_probes(run, labelled, tmp_path) -> None:
    result = run("probe", "fit", "zoo:lstm", labelled, "--label-column", "number", "--probe", "ridge", "--layers", "1")
    assert result.exit_code == 0 and "r2" in result.stdout
    numbers = tmp_path / "sparse.json"
    arguments = ("--label-column", "kind", "--probe", "sparse", "--layers", "1", "--json", numbers)
    assert run("probe", "fit", "zoo:lstm", labelled, *arguments).exit_code == 0
    rows = json.loads(numbers.read_text())["probes"]
    assert [row["k"] for row in rows] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert [len(row["units"]) for row in rows] == [row["k"] for row in rows]


@pytest.mark.parametrize("command", ["neurons", "cells", "gates"])
def test_units_over_a_text(run, speech, tmp_path, command) -> None:
    page, numbers = tmp_path / "units.html", tmp_path / "units.json"
    arguments = ("--layers", "0", "--length", 32, "--windows", 6, "--out", page, "--json", numbers)
    more = ("--predicate", "word_position") if command == "cells" else ()
    result = run("probe", command, "zoo:lstm", "--text", speech, *arguments, *more)
    assert result.exit_code == 0, result.output
    assert "6 windows of 32 tokens" in result.stdout
    assert len(json.loads(numbers.read_text())["units"]) == {"neurons": 352, "cells": 192, "gates": 3 * 192}[command]
    assert page.stat().st_size > 10_000


def test_what_makes_no_sense_is_one_sentence(refused, labelled, speech, tmp_path) -> None:
    assert "has no column 'label'; it has text, kind" in refused("probe", "fit", "zoo:lstm", labelled)
    assert "cannot be read as CSV" in refused("probe", "fit", "zoo:lstm", tmp_path / "none.csv")
    kinds = ("--label-column", "kind")
    assert "Layer 0 is given twice" in refused("probe", "fit", "zoo:lstm", labelled, *kinds, "--layers", "0,0")
    assert "'all' or numbers" in refused("probe", "fit", "zoo:lstm", labelled, *kinds, "--layers", "first")
    sparse = ("--probe", "sparse", "--select", "best", "--layers", "0")
    assert "selection is 'best'" in refused("probe", "fit", "zoo:lstm", labelled, *kinds, *sparse)
    assert "predicts numbers" in refused("probe", "fit", "zoo:lstm", labelled, *kinds, "--probe", "ridge")
    assert "outside text" in refused("probe", "fit", "zoo:lstm", labelled, *kinds, "--position", "99")
    groups = ("--group-column", "kind")
    assert "2 groups cannot be held out" in refused("probe", "fit", "zoo:lstm", labelled, *kinds, *groups)
    assert "cannot be read" in refused("probe", "neurons", "zoo:lstm", "--text", tmp_path / "none.txt")
    assert "No predicate is called" in refused("probe", "cells", "zoo:lstm", "--text", speech, "--predicate", "x")
    assert "have no gates" in refused("probe", "gates", "zoo:attention", "--text", speech)


def test_an_empty_cell_of_the_file_is_named_by_its_line(refused, tmp_path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\na,1\nb,\n")
    assert "Line 3" in refused("probe", "fit", "zoo:lstm", path)
