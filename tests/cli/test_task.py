"""``workbench task``: what it prints and writes is what the library says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from tests.cli.conftest import Run
from tests.workbench.test_report import Dom
from workbench.cli.task_settings import read_settings
from workbench.errors import InputError
from workbench.tasks import evaluate, make_task, score_model, scores_table, task_names, task_table
from workbench.tasks.registry import _MEASURES, _TASKS


def test_list_names_every_task_and_what_it_measures(run: Run, tmp_path: Path) -> None:
    result = run("task", "list", "--json", tmp_path / "list.json")
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in task_names())
    found = json.loads((tmp_path / "list.json").read_text())["tasks"]
    assert found == task_table().to_dict(orient="records") and len(found) == len(task_names())


def test_show_marks_what_is_scored_and_where_the_answer_stands(run: Run, tmp_path: Path) -> None:
    options = ["--set", "length=90", "--set", "depth=0", "--sequences", 1, "--json", tmp_path / "show.json"]
    result = run("task", "show", "passkey", *options)
    assert result.exit_code == 0, result.output
    model = wb.load("zoo:attention", check=False)
    task = make_task("passkey", model, length=90, depth=0.0, seed=0)
    found = json.loads((tmp_path / "show.json").read_text())
    assert found["options"] == {"seed": 0, "length": 90, "depth": 0.0}
    (shown,) = found["sequences"]
    assert task.text is not None
    assert (shown["tokens"], shown["text"]) == (task.tokens[0].tolist(), task.text[0])
    counted = task.labels[0] >= 0
    assert [row["position"] for row in shown["scored"]] == task.positions[0][counted].tolist()
    assert [row["source"] for row in shown["scored"]] == task.sources[0][counted].tolist()
    key = task.text[0].rsplit(" ", 1)[1]
    assert "".join(row["answer"] for row in shown["scored"]).strip("·") == key
    assert f"The pass key is {key}" in result.stdout and "depth" in result.stdout


def test_show_of_bare_ids_writes_numbers(run: Run, mamba: Path) -> None:
    result = run("task", "show", mamba, "repeated_random_tokens", "--set", "block=4", "--sequences", 1)
    assert result.exit_code == 0, result.output
    task = make_task("repeated_random_tokens", wb.load(mamba, check=False), block=4, seed=0)
    assert " ".join(map(str, task.tokens[0].tolist())) in result.stdout


def test_eval_writes_what_evaluate_returns_over_all_seeds(run: Run, tmp_path: Path) -> None:
    files = ["--json", tmp_path / "e.json", "--out", tmp_path / "e.html"]
    options = ["--set", "chains=2", "--batch", 6, "--seeds", 2, "--seed", 3]
    result = run("task", "eval", "zoo:attention", "two_hop", *options, *files)
    assert result.exit_code == 0, result.output
    model = wb.load("zoo:attention", check=False)
    expected = evaluate(model, "two_hop", chains=2, batch=6, seeds=[3, 4])
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["options"] == {"chains": 2, "batch": 6, "seeds": [3, 4]}
    assert [(row["label"], row["measure"]) for row in found["measures"]] == [
        *zip(expected["label"], expected["measure"], strict=True)
    ]
    np.testing.assert_allclose([row["mean"] for row in found["measures"]], expected["mean"], rtol=1e-4)
    assert {row["n"] for row in found["measures"]} == {4}
    page = Dom((tmp_path / "e.html").read_text())
    assert page.text["h1"] == ["two_hop on zoo:attention"]
    assert {"first_hop", "second_hop", "two_hops", "logit difference"} <= set(page.text["td"])


def test_the_sequences_of_several_seeds_count_together() -> None:
    model = wb.load("zoo:attention", check=False)
    both = evaluate(model, "laundry_list", items=2, batch=4, seeds=[0, 1])
    parts = [score_model(model, make_task("laundry_list", model, items=2, batch=4, seed=seed)) for seed in (0, 1)]
    means = torch.cat([part.loss[:, 0] if part.loss.shape[1] == 1 else part.per_sequence("loss") for part in parts])
    first = both[(both.label == "place_1") & (both.measure == "loss")].iloc[0]
    assert first["n"] == 4 and first["mean"] == pytest.approx(float(means[[0, 2, 4, 6]].double().mean()), rel=1e-5)
    with pytest.raises(InputError, match="take the place of seed"):
        evaluate(model, "laundry_list", seeds=[0], seed=1)
    with pytest.raises(InputError, match="no scores"):
        scores_table([])


def test_settings_take_the_types_of_their_options(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("It rained. We stayed.")
    words = ["length=300", "depth=none", f"filler=@{book}", "bos=true"]
    expected = {"length": 300, "depth": None, "filler": "It rained. We stayed.", "bos": True}
    assert read_settings("passkey", words) == expected
    assert read_settings("passkey", ["depth=0.5", "bos=7"]) == {"depth": 0.5, "bos": 7}
    assert read_settings("quirky_answers", ["names=Ann, Tom"]) == {"names": ("Ann", "Tom")}
    assert read_settings("ordinals", ["classes=months,letters"]) == {"classes": "months,letters"}
    assert read_settings("repeated_random_tokens", ["avoid=1,2"]) == {"avoid": (1, 2)}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "passky"], "No task is called 'passky'; nearest: passkey"),
        (["show", "zoo:gla", "passkey", "copying"], "One task is shown at a time"),
        (["show", "passkey", "--set", "lenght=3"], "has no option 'lenght'; there is: length"),
        (["show", "passkey", "--set", "length"], "write KEY=VALUE"),
        (["show", "passkey", "--set", "length=long"], "length is int"),
        (["show", "passkey", "--set", "length=5", "--set", "length=6"], "gives length twice"),
        (["show", "passkey", "--set", "filler=@nowhere.txt"], "the file nowhere.txt cannot be read"),
        (["show", "passkey", "--set", "length=20"], "length is 20"),
        (["eval", "zoo:nobody", "passkey"], "nobody"),
        (["eval", "zoo:attention", "passkey", "--out", "/nowhere/at/all.html"], "/nowhere/at"),
    ],
)
def test_bad_input_is_one_sentence(refused: Callable[..., str], arguments: list[str], sentence: str) -> None:
    assert sentence in refused("task", *arguments)


def test_a_task_without_a_tokenizer_or_longer_than_the_context_is_refused(
    refused: Callable[..., str], mamba: Path, gpt2: Path
) -> None:
    assert "give it a model with a tokenizer" in refused("task", "eval", mamba, "passkey")
    assert "the model reads at most 64" in refused("task", "eval", gpt2, "passkey")


def test_hostile_texts_stay_text(run: Run, gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hostile(vocabulary: Any, *, batch: int = 2, seed: int = 0) -> Any:
        """[bold]<script>alert(1)</script>[/nothing]"""
        return make_task("repeated_random_tokens", vocabulary, block=4, batch=batch, seed=seed)

    # Set and taken away again by pytest: the registry is everybody's.
    monkeypatch.setitem(_TASKS, "hostile", hostile)
    monkeypatch.setitem(_MEASURES, "hostile", "[/nothing]")
    for arguments in (["list"], ["show", gpt2, "hostile"]):
        result = run("task", *arguments)
        assert result.exit_code == 0, result.output
        assert "[/nothing]" in result.stdout
    result = run("task", "eval", gpt2, "hostile", "--out", tmp_path / "h.html")
    assert result.exit_code == 0, result.output
    assert "alert(1)" not in "".join(Dom((tmp_path / "h.html").read_text()).text["script"])
