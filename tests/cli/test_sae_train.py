import json
from pathlib import Path

import pytest

from tests.workbench.test_report import Dom
from workbench.saes import load_sae, training_history

TEXT = "the cat sat on the mat. " * 60
SMALL = ["--d-sae", 20, "-k", 3, "--tokens", 600, "--batch", 30, "--length", 16]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


def test_an_autoencoder_is_trained_and_not_trained_again(run, refused, gpt2, text, tmp_path):
    folder, files = tmp_path / "sae", ["--json", tmp_path / "sae.json", "--out", tmp_path / "sae.html"]
    asked = ["sae", "train", gpt2, "--hook", "attn_out", "--layer", 1, "--text", text, "--folder", folder, *SMALL]
    trained = run(*asked, *files)
    assert trained.exit_code == 0, trained.output
    assert "topk, 32 numbers, 20 features, 3 a vector" in " ".join(trained.stdout.split())
    sae = load_sae(folder)
    assert sae.cfg.hook == "blocks.1.mixer.hook_out" and sae.cfg.details["context_size"] == 16
    found = json.loads((tmp_path / "sae.json").read_text())
    assert [row["vectors"] for row in found["history"]] == [300, 600] == list(training_history(folder)["vectors"])
    assert found["site"] == "blocks.1.mixer.hook_out"
    assert Dom((tmp_path / "sae.html").read_text()).text["h1"][0].startswith("Training of an autoencoder on")
    before = (folder / "sae_weights.safetensors").read_bytes()
    assert "holds a training already; --resume goes on with it" in refused(*asked)
    again = run(*asked, "--resume")
    assert again.exit_code == 0 and again.stdout == trained.stdout
    assert (folder / "sae_weights.safetensors").read_bytes() == before
    assert "has k 3 and not 4" in refused(*asked, "--resume", "-k", 4)


def test_a_transcoder_of_one_head(run, gpt2, text, tmp_path):
    asked = ["--hook", "z", "--to", "q", "--head", 2, "--architecture", "batchtopk", "--skip"]
    done = run("sae", "train", gpt2, "--text", text, "--folder", tmp_path / "t", *SMALL, *asked)
    assert done.exit_code == 0, done.output
    cfg = load_sae(tmp_path / "t").cfg
    assert (cfg.architecture, cfg.hook, cfg.hook_out, cfg.head) == (
        "jumprelu_skip_transcoder",
        "blocks.0.mixer.hook_z",
        "blocks.0.mixer.hook_q",
        2,
    )


def test_a_state_is_read_in_a_few_directions(run, text, tmp_path):
    folder, asked = tmp_path / "state", ["--hook", "state", "--layer", 1, "--head", 0, "--every", 4, "--rank", 6]
    small = ["--d-sae", 12, "-k", 2, "--tokens", 64, "--batch", 16, "--length", 16]
    done = run("sae", "train", "zoo:gla", *asked, "--text", text, "--folder", folder, *small)
    assert done.exit_code == 0, done.output
    sae = load_sae(folder)
    share = sae.cfg.details["subspace"]["explained"]
    said = " ".join(done.stdout.split())
    assert f"in 6 directions with {share:.1%} of the variance" in said and "topk, 6 numbers, 12 features" in said
    assert sae.basis.shape[0] == 6 and sae.cfg.every == 4
    again = run("sae", "train", "zoo:gla", *asked, "--text", text, "--folder", folder, *small, "--resume")
    assert again.exit_code == 0 and again.stdout == done.stdout


def test_what_cannot_be_trained_is_one_sentence(refused, gpt2, text, tmp_path):
    asked = ["sae", "train", gpt2, "--text", text, "--folder", tmp_path / "sae", *SMALL]
    assert "resid_pots" in refused(*asked, "--hook", "resid_pots")
    assert "no whole number from 1 up" in refused(*asked, "--tokens", "1.5")
    assert "k is 21" in refused(*asked, "-k", 21)
    assert "not split into heads" in refused(*asked, "--head", 1)
    text.write_text("")
    assert "no text" in refused(*asked)
    assert "--architecture" in refused(*asked, "--architecture", "vanilla")
