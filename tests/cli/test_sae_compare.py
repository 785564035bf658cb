import json

import pytest
import torch

from workbench.saes import SaeConfig, SparseAutoencoder, save_sae

TEXT = "The committee met at noon, and fellow citizens of the Senate were late; their letters tell us why. " * 12
HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


def test_an_autoencoder_is_matched_with_a_hook_of_another_family(run, text, tmp_path):
    encoder = torch.randn(128, 12, generator=torch.Generator().manual_seed(0))
    weights = {"W_enc": encoder, "W_dec": encoder.T.contiguous(), "b_enc": torch.zeros(12), "b_dec": torch.zeros(128)}
    save_sae(SparseAutoencoder(SaeConfig("standard", 128, 12, hook=HOOK), weights), tmp_path / "mine")
    sides = [f"zoo:attention@{tmp_path / 'mine'}", f"zoo:mamba@{HOOK}"]
    read = ["--text", text, "--characters", 100, "--top", 3]
    result = run("sae", "compare", *sides, *read, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["measure"] for row in found["summary"]] == ["one_to_one", "best", "predicted", "mutual"]
    assert [row["measure"] for row in found["spaces"]] == ["svcca", "cka", "rsa"]
    units = [row["unit"] for row in found["pairs"]]
    assert 0 < len(units) == len(set(units)) <= 12
    assert all(0 <= row["partner"] < 128 for row in found["pairs"])
    assert "zoo:mamba blocks.1.hook_resid_post" in result.stdout and "one_to_one" in result.stdout
    alone = run("sae", "compare", sides[0], sides[0], *read, "--no-spaces")
    assert alone.exit_code == 0 and "As spaces" not in alone.stdout and "1.000" in alone.stdout


def test_what_cannot_be_compared_ends_with_one_sentence(refused, text):
    assert "names no place" in refused("sae", "compare", "zoo:mamba", f"zoo:mamba@{HOOK}", "--text", text)
    assert "hook_resid_post" in refused(
        "sae", "compare", f"zoo:mamba@{HOOK}", "zoo:mamba@blocks.1.hook_resid_pots", "--text", text
    )
