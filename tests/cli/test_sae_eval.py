import json

import pytest
import torch

import workbench as wb
from tests.workbench.test_report import Dom
from workbench.cli.texts import spread
from workbench.saes import SaeConfig, SparseAutoencoder, save_sae
from workbench.saes.autoencoder import weight_shapes
from workbench.saes.judging import judge_sae, token_windows

TEXT = (
    "some small ships sailed south so sailors slept; the tall tree then turned to the town and took ten things. " * 30
)
HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


@pytest.fixture
def sae():
    cfg = SaeConfig("standard", 128, 40, hook=HOOK, model_name="zoo:attention")
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) / 8 for name, shape in weight_shapes(cfg).items()}
    return SparseAutoencoder(cfg, weights)


def test_an_autoencoder_is_judged_beside_its_baselines(run, text, sae, tmp_path):
    save_sae(sae, tmp_path / "mine")
    read = ["--text", text, "--length", 24, "--windows", 8]
    more = ["--letters", "--probe", "leading_space", "--json", tmp_path / "out.json", "--out", tmp_path / "out.html"]
    result = run("sae", "eval", "zoo:attention", tmp_path / "mine", *read, *more)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    model = wb.load("zoo:attention")
    want = judge_sae(model, {"mine": sae}, spread(token_windows(model, TEXT, 24), 8)).table()
    names = [row["autoencoder"] for row in found["scores"]]
    assert names == ["mine", "pca", "random", "neurons", "mean ablation", "zero ablation", "model"]
    assert [row["kl"] for row in found["scores"]] == pytest.approx(list(want["kl"]), abs=1e-5)
    assert found["letters"]["mine"][-1]["letter"] == "all"
    assert {row["space"] for row in found["probes"]["leading_space"]} == {"mine", "activations"}
    for said in ("recovered", "zero ablation", "absorption of first letters", "Sparse probes for leading_space"):
        assert said in result.stdout
    page = Dom((tmp_path / "out.html").read_text())
    assert page.text["h1"] == ["Autoencoders of zoo:attention"]


def test_what_cannot_be_judged_ends_with_one_sentence(refused, text, sae, tmp_path):
    save_sae(sae, tmp_path / "mine")
    assert "twice" in refused("sae", "eval", "zoo:attention", tmp_path / "mine", tmp_path / "mine", "--text", text)
    said = refused("sae", "eval", "zoo:attention", tmp_path / "mine", "--text", text, "--baseline", "ica")
    assert "No baseline is called 'ica'" in said
    assert "label is 'colour'" in refused(
        "sae", "eval", "zoo:attention", tmp_path / "mine", "--text", text, "--length", 24, "--probe", "colour"
    )
    refused("sae", "eval", "zoo:attention", tmp_path / "none", "--text", text)
    cfg = SaeConfig("standard", 64, 8, hook=HOOK)
    save_sae(SparseAutoencoder(cfg, {n: torch.ones(s) for n, s in weight_shapes(cfg).items()}), tmp_path / "other")
    assert "64 numbers" in refused("sae", "eval", "zoo:attention", tmp_path / "other", "--text", text)
