"""A model with two mixers in a block on the command line: all heads are listed, the second mixer's by its number."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import workbench as wb
from tests.families.case import build
from tests.families.cases import every_case
from tests.workbench.test_report import Dom
from workbench.cli.ablate import candidates
from workbench.errors import InputError
from workbench.probes import find_heads

QUICK = ("--block", 8, "--batch", 2, "--seeds", 1)


@pytest.fixture(scope="module")
def falcon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a random Falcon-H1 of 2 blocks, each with 6 Mamba-2 heads and 3 attention heads."""
    folder = tmp_path_factory.mktemp("models") / "falcon"
    model = build(every_case()["falcon_h1"])
    model.resize_token_embeddings(300)  # as many as the tokenizer of the fixture gpt2 has
    model.save_pretrained(folder)
    return folder


def test_heads_lists_the_heads_of_every_mixer(run, falcon, tmp_path):
    files = ["--json", tmp_path / "h.json", "--out", tmp_path / "h.html"]
    result = run("heads", falcon, *QUICK, "--top", 18, *files)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "h.json").read_text())["heads"]
    table = find_heads(wb.load(falcon), "induction", block=8, batch=2, seeds=(0,))
    assert [row["site"] for row in found] == list(table.site)
    assert {row["mixer"] for row in found if row["family"] == "softmax"} == {1}
    assert all(f" {site} " in result.stdout for site in table.site)
    page = Dom((tmp_path / "h.html").read_text())
    data = json.loads(next(t for a, t in zip(page.named("script"), page.text["script"], strict=True) if a.get("id")))
    axis = data["figures"]["b0"]["layout"]["yaxis"]
    assert axis["ticktext"] == ["0", "0.mixer1", "1", "1.mixer1"]


def test_info_checks_every_mixer(run, falcon, tmp_path):
    result = run("info", falcon, "--json", tmp_path / "i.json", "--dtype", "float64")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "i.json").read_text())["check"]
    assert [(row["layer"], row["mixer"], row["family"], row["heads"]) for row in rows] == [
        (layer, mixer, family, heads) for layer in (0, 1) for mixer, family, heads in MIXERS
    ]
    assert all(row["check_core"] < 1e-10 and row["check_mixer"] < 1e-10 for row in rows)
    assert "1.mixer1" in result.stdout and "cache of 8 numbers a token" in result.stdout


MIXERS = ((0, "falcon_h1", 6), (1, "softmax", 3))


def test_attention_shows_the_mixer_that_is_asked_for(run, falcon, gpt2, tmp_path):
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(gpt2).save_pretrained(falcon)
    text = "the cat sat on the mat"
    result = run("attention", falcon, text, "--layer", 1, "--mixer", 1, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    assert "Mixer 1 of layer 1 of" in result.stdout and "A softmax layer" in result.stdout
    found = json.loads((tmp_path / "a.json").read_text())
    _, cache = wb.load(falcon).run_with_cache(text, names_filter="blocks.1.mixer1.hook_pattern")
    weights = np.array([matrix["weights"] for matrix in found["matrices"]])
    np.testing.assert_allclose(weights, cache["blocks.1.mixer1.hook_pattern"][0].detach().numpy(), atol=1e-5)


@torch.no_grad()
def test_named_sites_of_a_mixer_are_compared_with_others(falcon):
    model = wb.load(falcon)
    heads = candidates(model, "L1.mixer1H0")
    assert len(heads) == 18 and heads.site[0] == "L1.mixer1H0" and heads.site.is_unique
    numbered = candidates(model, "L1.mixer1")
    assert sorted(numbered.site) == ["L0.mixer0", "L0.mixer1", "L1.mixer0", "L1.mixer1"]
    assert sorted(candidates(model, "L1.mixer").site) == ["L0.mixer", "L1.mixer"]
    with pytest.raises(InputError, match="different kinds or sizes"):
        candidates(model, "L1.mixer,L0.mixer1")
