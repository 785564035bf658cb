"""``workbench steer``: vectors made, kept and loaded, and what is generated with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import workbench as wb
from tests.cli.conftest import HOSTILE_TOKENS, Run
from tests.workbench.test_report import Dom
from workbench.interventions import Steer, SteeringVector
from workbench.probes.steering import contrastive_vector

PROMPT = "The state of the Union is"
PEACE, WAR = ["We love the peace", "They are at peace"], ["We love the war", "They are at war"]
CONTRAST = [part for text in PEACE for part in ("--towards", text)] + [p for text in WAR for p in ("--away", text)]


def test_a_vector_is_made_kept_and_steers_from_the_same_seed(run: Run, tmp_path: Path) -> None:
    sampled = ("--temperature", 0.7, "--seed", 3, "--new-tokens", 6, "--strength", 2, "--strength", -1)
    files = ("--save", tmp_path / "peace", "--json", tmp_path / "s.json", "--out", tmp_path / "s.html")
    result = run("steer", "zoo:mamba2", PROMPT, *CONTRAST, "--layer", -2, *sampled, *files)
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stderr.count("peace.safetensors") == 1 and "Converting" not in result.stderr
    model = wb.load("zoo:mamba2", check=False)
    vector = contrastive_vector(model, PEACE, WAR, "blocks.2.hook_resid_post")
    kept = SteeringVector.load(tmp_path / "peace.safetensors")
    torch.testing.assert_close(kept.values, vector.values)
    rows = json.loads((tmp_path / "s.json").read_text())["generations"]
    assert [row["strength"] for row in rows] == [0, 2, -1]
    for row in rows:
        with Steer(vector, alpha=row["strength"]).applied(model):
            whole = model.generate(model.to_tokens(PROMPT), 6, temperature=0.7, seed=3)
        assert (
            model.to_string(whole[0]).endswith(row["text"])
            and row["text"] in result.stdout.replace("\n", " ") + row["text"]
        )
        with torch.no_grad():
            loss = model(whole, return_type="loss", loss_per_token=True)[0, -6:].mean()
        assert row["loss"] == pytest.approx(float(loss), rel=1e-4)
    assert len({row["text"] for row in rows}) == 3
    page = Dom((tmp_path / "s.html").read_text())
    assert [text for text in page.text["td"] if "strength" in text or text == "unsteered"] == [
        "unsteered",
        "strength 2",
        "strength -1",
    ]
    again = ("--vector", tmp_path / "peace", *sampled, "--json", tmp_path / "t.json")
    assert run("steer", "zoo:mamba2", PROMPT, *again).exit_code == 0
    assert json.loads((tmp_path / "t.json").read_text())["generations"] == rows


def test_prompts_of_files_and_the_middle_layer_and_the_state(run: Run, tmp_path: Path) -> None:
    (tmp_path / "for.txt").write_text("\n".join(PEACE) + "\n\n")
    (tmp_path / "against.txt").write_text("\n".join(WAR))
    asked = ("--towards", f"@{tmp_path / 'for.txt'}", "--away", f"@{tmp_path / 'against.txt'}")
    result = run("steer", "zoo:gla", *asked, "--hook", "state", "--save", tmp_path / "v.json", "--json", "-")
    assert result.exit_code == 0, (result.output, result.exception)
    got = json.loads(result.stdout)
    assert [*got["vector"]["norms"]] == ["blocks.2.mixer.hook_state"] and got["vector"]["pairs"] == 2
    assert got["generations"] == [] and (tmp_path / "v.safetensors").exists()


def test_hostile_texts_stay_text(run: Run, gpt2: Path, tmp_path: Path) -> None:
    prompt = f"the {HOSTILE_TOKENS[0]}"
    asked = ("--towards", "cat", "--away", "mat", "--layer", 0, "--new-tokens", 2, "--out", tmp_path / "h.html")
    result = run("steer", gpt2, prompt, *asked)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "<script>alert" not in (tmp_path / "h.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((PROMPT,), "give --towards and --away, or load one with --vector"),
        ((PROMPT, "--towards", "peace"), "give --towards and --away"),
        ((PROMPT, "--towards", "peace", "--away", ""), "--away '' holds no prompt"),
        ((PROMPT, "--towards", "@nowhere.txt", "--away", "war"), "nowhere.txt cannot be read"),
        ((PROMPT, *CONTRAST, "--towards", "more"), "3 positive and 2 negative prompts make no pairs"),
        ((PROMPT, *CONTRAST, "--vector", "kept"), "either loaded with --vector or made"),
        ((PROMPT, "--vector", "nowhere"), "nowhere is no saved steering vector"),
        ((*CONTRAST,), "Give a PROMPT to go on with, or --save FILE"),
        (("", *CONTRAST), "The PROMPT is empty"),
        ((PROMPT, *CONTRAST, "--layer", "9"), "9"),
        ((PROMPT, *CONTRAST, "--hook", "nothing"), "nothing"),
        ((PROMPT, *CONTRAST, "--save", "/nowhere/at/all"), "/nowhere/at does not exist"),
        ((PROMPT, *CONTRAST, "--temperature", "-1"), "'--temperature'"),
    ],
)
def test_what_cannot_be_steered_is_one_sentence(
    refused: Callable[..., str], arguments: tuple[Any, ...], sentence: str
) -> None:
    assert sentence in refused("steer", "zoo:mamba2", *arguments)


def test_a_vector_of_another_model_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    SteeringVector({"blocks.30.hook_resid_post": torch.ones(8)}, "somebody", {}).save(tmp_path / "v")
    assert "somebody" in refused("steer", "zoo:mamba2", PROMPT, "--vector", tmp_path / "v")
