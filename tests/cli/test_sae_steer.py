import json

import pytest
import torch

import workbench as wb
from tests.workbench.test_report import Dom
from workbench.saes import SaeConfig, SparseAutoencoder, save_sae, steer_features
from workbench.saes.autoencoder import weight_shapes

PROMPT = "The people of this"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    cfg = SaeConfig("standard", 128, 20, hook="blocks.2.hook_resid_post", model_name="zoo:gla")
    generator = torch.Generator().manual_seed(0)
    shapes = weight_shapes(cfg)
    sae = SparseAutoencoder(cfg, {name: torch.randn(shapes[name], generator=generator) / 5 for name in shapes})
    place = tmp_path_factory.mktemp("saes") / "gla"
    save_sae(sae, place)
    return place, sae


def test_text_is_steered_beside_the_unsteered_text(run, folder, tmp_path):
    place, sae = folder
    asked = ["--feature", "3=6", "--feature", "7 = 1.5e1", "--strength", 1, "--strength", -2, "--new-tokens", 8]
    files = ["--json", tmp_path / "out.json", "--out", tmp_path / "out.html"]
    result = run("sae", "steer", "zoo:gla", place, PROMPT, *asked, *files, "--how", "add")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    want = steer_features(
        wb.load("zoo:gla"), sae, PROMPT, {3: 6.0, 7: 15.0}, strengths=[1, -2], how="add", max_new_tokens=8
    )
    assert found["features"] == {"3": 6.0, "7": 15.0} and found["how"] == "add"
    assert [row["text"] for row in found["generations"]] == list(want.texts)
    assert [row["kl"] for row in found["generations"]] == pytest.approx(list(want.kl), abs=1e-6)
    for said in ("unsteered", "strength -2", "features added: 3 = 6, 7 = 15"):
        assert said in result.stdout
    page = Dom((tmp_path / "out.html").read_text())
    assert page.text["td"][1] == want.unsteered and page.text["code"] == [PROMPT]


def test_the_cost_is_measured_on_a_text_of_ones_own(run, folder, tmp_path):
    place, _ = folder
    (tmp_path / "text.txt").write_text("It was the best of times.")
    asked = ["--feature", "3=9", "--text", tmp_path / "text.txt", "--new-tokens", 3, "--json", "-"]
    result = run("sae", "steer", "zoo:gla", place, PROMPT, *asked)
    found = json.loads(result.stdout)["generations"]
    with torch.no_grad():
        want = float(wb.load("zoo:gla")("It was the best of times.", return_type="loss"))
    assert found[0]["loss"] == pytest.approx(want, abs=1e-5) and found[1]["loss"] != found[0]["loss"]


def test_what_cannot_be_steered_ends_with_one_sentence(refused, folder, tmp_path):
    place, _ = folder
    for options, says in (
        (["--feature", "twelve=8"], "write 12=8"),
        (["--feature", "3=1", "--feature", "3=2"], "names a feature twice"),
        (["--feature", "20=1"], "no feature 20; this autoencoder has 0 to 19"),
        (["--feature", "3=1", "--strength", 0], "no strength but 0"),
        (["--feature", "3=1", "--store", tmp_path], "store"),
        (["--feature", "3=1", "--text", tmp_path / "none.txt"], "cannot be read"),
    ):
        assert says in refused("sae", "steer", "zoo:gla", place, PROMPT, *options)
    assert "empty" in refused("sae", "steer", "zoo:gla", place, "", "--feature", "3=1")
    assert "no folder with an autoencoder" in refused(
        "sae", "steer", "zoo:gla", tmp_path / "no", PROMPT, "--feature", "3=1"
    )
    lstm = refused("sae", "steer", "zoo:gla", tmp_path, PROMPT, "--feature", "3=1")
    assert "no autoencoder" in lstm
