"""``workbench patch``: what it writes is what the library finds, and what cannot be exchanged is one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import workbench as wb
from tests.cli.conftest import Run
from tests.workbench.test_report import Dom
from workbench.model import HookedModel
from workbench.probes.patching import (
    activation_patching,
    answer_metric,
    attribution_patching,
    direct_and_total_effects,
    path_patching,
)
from workbench.probes.patching.effects import every_component
from workbench.tasks import make_task

CLEAN, CORRUPTED = "one two three one two", "one two four one two"
WORDS = ("--answer", " three", "--instead", " four")
PAIR = ("patch", "zoo:attention", CLEAN, CORRUPTED, *WORDS)


@pytest.fixture(scope="module")
def transformer() -> HookedModel:
    return wb.load("zoo:attention", check=False)


def difference(model: HookedModel) -> Callable[[torch.Tensor], torch.Tensor]:
    three, four = (int(model.to_tokens(word, prepend_bos=False)[0, 0]) for word in (" three", " four"))
    return lambda logits: logits[:, -1, three] - logits[:, -1, four]


def found(run: Run, file: Path, *arguments: Any) -> dict[str, Any]:
    result = run(*arguments, "--json", file)
    assert result.exit_code == 0, (result.output, result.exception)
    return {**json.loads(file.read_text()), "stdout": result.stdout}


def test_a_clean_run_is_edited_place_by_place(run: Run, transformer: HookedModel, tmp_path: Path) -> None:
    got = found(run, tmp_path / "p.json", *PAIR, "--layers", "0,1", "--top", 3, "--out", tmp_path / "p.html")
    metric = difference(transformer)
    clean, corrupted = (transformer.to_tokens(text) for text in (CLEAN, CORRUPTED))
    with torch.no_grad():
        values = {"edited": float(metric(transformer(clean))), "other": float(metric(transformer(corrupted)))}
    assert got["values"] == pytest.approx(values, rel=1e-4)
    at = [f"blocks.{layer}.hook_resid_post" for layer in (0, 1)]
    want = activation_patching(transformer, clean, corrupted, metric, at=at)
    assert [row["position"] for row in got["effects"]] == want["position"].tolist()
    assert [row["effect"] for row in got["effects"]] == pytest.approx(want["effect"].tolist(), abs=1e-4)
    shown = [line for line in got["stdout"].splitlines() if "hook_resid_post" in line]
    largest = want.loc[want["effect"].abs().idxmax()]
    assert len(shown) == 3 and largest["hook"] in shown[0] and "4 ·two" in shown[0]
    assert "The largest 3 of 10 are shown" in " ".join(got["stdout"].split())
    page = Dom((tmp_path / "p.html").read_text())
    assert page.text["h1"] == ["zoo:attention: activation patching"] and largest["hook"] in page.text["td"]


def test_the_corrupted_run_is_restored(run: Run, transformer: HookedModel, tmp_path: Path) -> None:
    options = ("--edit", "corrupted", "--hook", "z", "--positions", "2,-1", "--layers", "1")
    got = found(run, tmp_path / "p.json", *PAIR, *options)
    want = activation_patching(
        transformer, CORRUPTED, CLEAN, difference(transformer), at="blocks.1.mixer.hook_z", positions=[2, -1]
    )
    assert [row["effect"] for row in got["effects"]] == pytest.approx(want["effect"].tolist(), abs=1e-4)
    assert {(row["head"], row["position"]) for row in got["effects"]} == {(h, p) for h in range(4) for p in (2, 4)}
    assert got["edit"] == "corrupted" and got["values"]["edited"] < got["values"]["other"]


@pytest.mark.parametrize(("by", "method"), [("attribution", "gradient"), ("integrated", "integrated")])
def test_first_order_guesses(run: Run, transformer: HookedModel, tmp_path: Path, by: str, method: str) -> None:
    # Heads are exchanged at all positions at once unless said otherwise.
    got = found(run, tmp_path / "p.json", *PAIR, "--by", by, "--hook", "z", "--out", tmp_path / "p.html")
    metric = difference(transformer)
    want = attribution_patching(transformer, CLEAN, CORRUPTED, metric, at="hook_z", positions="all", method=method)
    assert [row["effect"] for row in got["effects"]] == pytest.approx(want["effect"].tolist(), abs=1e-4)
    data = json.loads(Dom((tmp_path / "p.html").read_text()).text["script"][0])
    assert data["figures"]["b0"]["layout"]["xaxis"]["title"]["text"] == "head"


def test_paths(run: Run, transformer: HookedModel, tmp_path: Path) -> None:
    options = ("--by", "path", "--senders", "L0H1, L1H1", "--receivers", "logits,L2H0.k", "--out", tmp_path / "p.html")
    got = found(run, tmp_path / "p.json", *PAIR, *options)
    want = path_patching(
        transformer,
        CLEAN,
        CORRUPTED,
        difference(transformer),
        senders=["L0H1", "L1H1"],
        receivers=["logits", "L2H0.k"],
    )
    assert [(row["sender"], row["receiver"]) for row in got["effects"]] == [
        *zip(want["sender"], want["receiver"], strict=True)
    ]
    assert [row["effect"] for row in got["effects"]] == pytest.approx(want["effect"].tolist(), abs=1e-4)


def test_direct_and_total_effects(run: Run, transformer: HookedModel, tmp_path: Path) -> None:
    options = ("--by", "effects", "--senders", "L1H1,L2.mlp", "--method", "zero", "--out", tmp_path / "p.html")
    got = found(run, tmp_path / "p.json", *PAIR, *options)
    want = direct_and_total_effects(
        transformer, CLEAN, difference(transformer), sites=["L1H1", "L2.mlp"], method="zero"
    )
    for column in ("direct", "total", "compensation"):
        assert [row[column] for row in got["effects"]] == pytest.approx(want[column].tolist(), abs=1e-4)
    # A mean is taken over the other run: over the run itself, a single sequence would not change at all.
    mean = found(run, tmp_path / "m.json", *PAIR, "--by", "effects", "--senders", "L1H1")
    corrupted = transformer.to_tokens(CORRUPTED)
    want = direct_and_total_effects(
        transformer, CLEAN, difference(transformer), sites="L1H1", method="mean", reference=corrupted
    )
    assert mean["effects"][0]["total"] == pytest.approx(float(want["total"][0]), abs=1e-4)


def test_every_component_is_sent_from_by_default(mamba: Path, transformer: HookedModel) -> None:
    sites = [str(site) for site in every_component(transformer)]
    assert sites[:5] == ["L0H0", "L0H1", "L0H2", "L0H3", "L0.mlp"] and len(sites) == 20
    channels = wb.load(mamba)
    assert [*map(str, every_component(channels))] == [f"L{layer}H{head}" for layer in (0, 1) for head in range(40)]


def test_two_draws_of_a_task_are_exchanged(run: Run, tmp_path: Path) -> None:
    settings = ("--set", "block=6", "--set", "batch=3", "--seed", 4)
    asked = ("--task", "repeated_random_tokens", *settings, "--hook", "state", "--layers", 0, "--positions", "5")
    got = found(run, tmp_path / "p.json", "patch", "zoo:mamba2", *asked)
    model = wb.load("zoo:mamba2", check=False)
    clean, other = (make_task("repeated_random_tokens", model, block=6, batch=3, seed=seed) for seed in (4, 5))
    want = activation_patching(model, clean, other, answer_metric(clean), at="blocks.0.mixer.hook_state", positions=[5])
    assert [row["effect"] for row in got["effects"]] == pytest.approx(want["effect"].tolist(), abs=1e-4)
    assert [row["low"] for row in got["effects"]] == pytest.approx(want["low"].tolist(), abs=1e-4)


def test_pairs_of_a_file_have_an_interval(run: Run, refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(
        "clean,corrupted,answer,instead\n"
        f'{CLEAN},{CORRUPTED}," three"," four"\n'
        'one three two one three,one three four one three," two"," four"\n'
    )
    asked = ("--pairs", file, "--layers", 1, "--positions", "all")
    (row,) = found(run, tmp_path / "p.json", "patch", "zoo:attention", *asked)["effects"]
    assert row["low"] < row["effect"] < row["high"] < 0
    file.write_text(file.read_text().removesuffix('" four"\n'))
    assert "Line 3" in refused("patch", "zoo:attention", *asked)
    file.write_text("clean,corrupted\n")
    assert "holds no pairs" in refused("patch", "zoo:attention", *asked)
    assert "cannot be read as CSV: No such file" in refused("patch", "x", "--pairs", tmp_path / "none.csv")


def test_answers_are_the_likeliest_tokens_unless_said(run: Run, transformer: HookedModel, tmp_path: Path) -> None:
    prompts = (CLEAN, CORRUPTED)
    got = found(run, tmp_path / "p.json", "patch", "zoo:attention", *prompts, "--layers", 0, "--positions", "0")
    with torch.no_grad():
        clean, other = (transformer(prompt)[0, -1] for prompt in prompts)
    best, second = int(clean.argmax()), int(other.argmax())
    assert got["values"]["edited"] == pytest.approx(float(clean[best] - clean[second]), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Give two prompts, CLEAN and CORRUPTED, or --pairs"),
        ((CLEAN,), "Two prompts are exchanged"),
        ((CLEAN, ""), "Two prompts are exchanged"),
        ((CLEAN, CORRUPTED, "--task", "copying"), "and one of them"),
        ((CLEAN, "one two"), "have to align token by token"),
        ((CLEAN, CLEAN), "are the same"),
        ((CLEAN, CORRUPTED, "--answer", " three four"), "an answer is one"),
        ((CLEAN, CORRUPTED, *WORDS, "--positions", "one"), "--positions is all, each or numbers"),
        ((CLEAN, CORRUPTED, *WORDS, "--positions", "9"), "Positions go from 0 to 4"),
        ((CLEAN, CORRUPTED, *WORDS, "--layers", "7"), "7"),
        ((CLEAN, CORRUPTED, *WORDS, "--hook", "zz"), "zz"),
        ((CLEAN, CORRUPTED, *WORDS, "--by", "path", "--senders", ","), "--senders names nothing"),
        ((CLEAN, CORRUPTED, *WORDS, "--by", "path", "--receivers", "L9H0"), "L9"),
        ((CLEAN, CORRUPTED, *WORDS, "--set", "block=3"), "--set is for the options of a task"),
        (("--task", "copyng"), "No task is called 'copyng'"),
        (("--task", "copying", "--answer", " three"), "--answer and --instead go with two prompts"),
    ],
)
def test_what_cannot_be_exchanged_is_one_sentence(
    refused: Callable[..., str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused("patch", "zoo:attention", *arguments)
