"""``workbench heads`` for every kind of head."""

import json

import pytest

import workbench as wb
from workbench.probes import find_heads, kinds


def test_all_kinds_come_in_one_table_and_those_that_a_model_cannot_be_asked_for_are_named(run, gpt2, tmp_path):
    files = ["--json", tmp_path / "all.json", "--out", tmp_path / "all.html"]
    result = run("heads", gpt2, "--kind", "all", "--block", 8, "--batch", 2, "--seeds", 1, *files)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "all.json").read_text())
    listed = {row["kind"] for row in found["heads"]}
    assert listed == {*kinds()} - {"retrieval"}  # of this tokenizer's single letters, a needle alone is longer
    assert len(found["heads"]) == 8 * len(listed)
    assert "retrieval: length is 128; task 'needle' needs" in result.stderr
    for kind in listed:
        assert kind in result.stdout
    assert "3-gram" in (tmp_path / "all.html").read_text()


def test_retrieval_takes_its_own_options_and_its_check_is_its_own_task(run, gpt2, tmp_path):
    asked = [
        "--haystack",
        "segment",
        "--haystack-length",
        30,
        "--seeds",
        2,
        "--causal",
        1,
        "--json",
        tmp_path / "heads.json",
    ]
    result = run("heads", gpt2, "--kind", "retrieval", *asked)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "heads.json").read_text())
    with pytest.warns(UserWarning, match="wrote only"):
        table = find_heads(wb.load(gpt2), "retrieval", haystack="segment", lengths=[30], seeds=range(2))
    assert [row["site"] for row in found["heads"]] == list(table.site)
    assert [row["condition"] for row in found["causal"]["retrieval"]] == ["baseline", "top", "random"]
    assert "p_loss_answer" in found["causal"]["retrieval"][1]
    assert "loss, answer" in result.stdout and "wrote only" in result.stderr


def test_a_kind_with_a_task_of_its_own_is_sent_to_the_command_that_knows_it(refused, gpt2):
    sentence = refused("ablate", gpt2, "--kind", "retrieval", "--best", 2)
    assert f"workbench heads {gpt2} --kind retrieval --causal 2" in sentence
    assert "No kind of head is called 'inducton'" in refused("heads", gpt2, "--kind", "inducton")
    assert "task 'needle' needs" in refused("heads", gpt2, "--kind", "retrieval")
