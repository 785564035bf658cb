import json

import numpy as np
import pytest
import torch

import workbench as wb
from tests.cli.conftest import HOSTILE_TOKENS
from tests.workbench.test_report import Dom
from workbench.probes.heads import find_heads
from workbench.tasks import repeated_random_tokens, score_model


def test_info_states_the_sizes_and_an_exact_implicit_attention(run, gpt2, tmp_path):
    result = run("info", gpt2, "--json", tmp_path / "info.json", "--hooks")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "info.json").read_text())
    assert (found["layers"], found["heads"], found["d_model"], found["context"]) == (2, 4, 32, 64)
    # wte (tied to the unembedding) + wpe + 2 blocks + the last norm.
    block = 4 * 32 + (32 * 96 + 96) + (32 * 32 + 32) + (32 * 128 + 128) + (128 * 32 + 32)
    assert found["parameters"] == 300 * 32 + 64 * 32 + 2 * block + 64
    assert [row["cache_per_token"] for row in found["check"]] == [64, 64]
    assert all(row["check_core"] < 1e-5 and row["check_mixer"] < 1e-5 for row in found["check"])
    assert "blocks.1.mixer.hook_z" in found["hook_names"]
    assert "blocks.1.mixer.hook_z [batch, time" in result.stdout


def test_info_of_a_recurrent_model_counts_channels_and_state(run, mamba, tmp_path):
    result = run("info", mamba, "--json", tmp_path / "info.json", "--dtype", "float64")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "info.json").read_text())
    assert (found["context"], found["heads"], found["dtype"]) == (None, 40, "float64")
    assert [row["state"] for row in found["check"]] == [40 * 4, 40 * 4]
    assert all(row["check_core"] < 1e-10 and row["check_mixer"] < 1e-10 for row in found["check"])
    assert "40 channels" in result.stdout


def test_heads_prints_and_writes_what_the_finder_returns(run, gpt2, tmp_path):
    files = ["--json", tmp_path / "heads.json", "--out", tmp_path / "heads.html"]
    options = ["--kind", "previous_token", "--block", 12, "--seeds", 2, "--batch", 3, "--seed", 5]
    result = run("heads", gpt2, *options, *files)
    assert result.exit_code == 0, result.output
    table = find_heads(wb.load(gpt2), "previous_token", seeds=(5, 6), batch=3, block=12)
    found = json.loads((tmp_path / "heads.json").read_text())["heads"]
    assert [row["site"] for row in found] == list(table["site"])
    np.testing.assert_allclose([row["score"] for row in found], table["score"], rtol=1e-5)
    assert result.stdout.index(table["site"][0]) < result.stdout.index(table["site"][7])
    page = Dom((tmp_path / "heads.html").read_text())
    assert page.text["h1"] == [f"Previous-token heads of {gpt2}"]
    assert page.text["td"][0] == table["site"][0]


def test_json_on_standard_output_is_nothing_but_json(run, gpt2):
    result = run("heads", gpt2, "--block", 8, "--seeds", 1, "--json", "-")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["heads"]) == 8
    assert "induction heads" in result.stderr


def test_ablate_reports_both_copies_for_all_three_conditions(run, gpt2, tmp_path):
    files = ["--json", tmp_path / "a.json", "--out", tmp_path / "a.html"]
    options = ["--best", 2, "--block", 10, "--batch", 4, "--draws", 3, "--seeds", 1, "--method", "zero"]
    result = run("ablate", gpt2, *options, *files)
    assert result.exit_code == 0, result.output
    rows = {row["condition"]: row for row in json.loads((tmp_path / "a.json").read_text())["ablation"]}
    assert set(rows) == {"baseline", "top", "random"}
    model = wb.load(gpt2)
    plain = score_model(model, repeated_random_tokens(model, 10, batch=4, seed=1000))
    for copy in ("first", "second"):
        expected = float(plain.per_sequence("loss", copy).mean())
        assert rows["baseline"][f"loss_{copy}"] == pytest.approx(expected, rel=1e-5)
    assert rows["top"]["loss_second"] != rows["baseline"]["loss_second"]
    page = Dom((tmp_path / "a.html").read_text())
    assert "accuracy, second copy" in page.text["td"]
    data = json.loads(next(t for a, t in zip(page.named("script"), page.text["script"], strict=True) if a.get("id")))
    assert [trace["name"] for trace in data["figures"]["b0"]["data"][:3]] == [
        "nothing ablated",
        "these ablated",
        "random others",
    ]


def test_ablate_takes_named_sites_and_compares_with_others_of_their_kind(run, gpt2, tmp_path):
    result = run("ablate", gpt2, "--sites", "L0H1,L1H3", "--block", 8, "--draws", 2, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "a.json").read_text())["ablation"]
    assert [row["heads"] for row in rows] == ["none", "L0H1 L1H3", "2 draws of 2"]


@pytest.mark.filterwarnings("ignore:Too few other heads")
def test_ablate_takes_whole_mlps_and_says_that_the_controls_lie_in_other_layers(run, gpt2, tmp_path):
    result = run("ablate", gpt2, "--sites", "L0.mlp", "--block", 8, "--draws", 2, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    assert "Too few other heads" in result.stderr
    rows = json.loads((tmp_path / "a.json").read_text())["ablation"]
    assert rows[1]["heads"] == "L0.mlp"


def test_attention_shows_every_head_of_a_small_softmax_layer(run, gpt2, tmp_path):
    text = "the cat sat on the mat"
    result = run("attention", gpt2, text, "--layer", -1, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "a.json").read_text())
    model = wb.load(gpt2)
    _, cache = model.run_with_cache(text, names_filter="blocks.1.mixer.hook_pattern")
    weights = np.array([matrix["weights"] for matrix in found["matrices"]])
    np.testing.assert_allclose(weights, cache["blocks.1.mixer.hook_pattern"][0].detach().numpy(), atol=1e-6)
    assert found["layer"] == 1 and found["check"] < 1e-5
    assert found["tokens"] == model.to_str_tokens(text)
    strongest = found["matrices"][0]["links"][0]
    below = np.tril(weights[0], -1)[:, 1:]
    assert strongest["weight"] == pytest.approx(below.max(), rel=1e-6)


def test_attention_of_one_head(run, gpt2, tmp_path):
    result = run("attention", gpt2, "the cat", "--layer", 0, "--head", 2, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    assert [m["label"] for m in json.loads((tmp_path / "a.json").read_text())["matrices"]] == ["head 2"]


def test_a_hostile_text_comes_out_inert(run, gpt2, tmp_path):
    text = "the " + "".join(HOSTILE_TOKENS) + "\"'`"
    files = [tmp_path / "hostile.html", tmp_path / "tame.html"]
    for file, shown in zip(files, (text, "the cat"), strict=True):
        assert run("attention", gpt2, shown, "--layer", 0, "--out", file).exit_code == 0
    page = Dom(files[0].read_text())
    assert len(page.named("script")) == len(Dom(files[1].read_text()).named("script")) == 2
    assert {attributes["src"][:22] for attributes in page.named("img")} == {"data:image/png;base64,"}
    assert "".join(page.text["bdi"]).replace("·", " ") == text
    assert "<script>alert(1)</script>" in page.text["bdi"]


def test_channels_of_mamba_are_summed_up_and_the_strongest_shown(tmp_path, run, mamba, gpt2):
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(gpt2).save_pretrained(mamba.parent / "spoken")
    spoken = mamba.parent / "spoken"
    model = wb.load(mamba).unwrap()
    model.resize_token_embeddings(300)
    model.save_pretrained(spoken)
    text = "the cat sat. the cat"
    files = ["--json", tmp_path / "a.json", "--out", tmp_path / "a.html"]
    result = run("attention", spoken, text, "--layer", 1, "--strongest", 3, *files)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "a.json").read_text())
    whole = wb.load(spoken).implicit_attention(text, 1, scope="mixer")
    dense = whole.dense()[0].detach()
    np.testing.assert_allclose(found["matrices"][0]["weights"], dense.abs().mean(0).numpy(), atol=1e-6)
    strongest = dense.square().sum((-1, -2)).argsort(descending=True)[:3].tolist()
    assert [matrix["label"] for matrix in found["matrices"]] == ["mean |A|", *(f"channel {i}" for i in strongest)]
    np.testing.assert_allclose(found["matrices"][1]["weights"], dense[strongest[0]].numpy(), atol=1e-6)
    page = Dom((tmp_path / "a.html").read_text())
    assert len(page.named("button")) == 4
    assert f"relative error of {found['check']:.1e}" in page.text["p"][0]


def test_a_long_text_is_reduced_to_pixels_that_say_so(run, mamba, tmp_path):
    from workbench.cli.pictures import Picture, view

    weights = np.tril(np.ones((600, 600), dtype=np.float32))
    shown = view([Picture("head 0", "All ones.", weights)], ["a"] * 600)
    assert shown.factor == 2 and shown.panels[0].pixels.shape == (300, 300)
    assert "A pixel is 2 × 2 tokens" in shown.panels[0].caption
    assert torch.from_numpy(shown.panels[0].pixels).tril().sum() == 300 * 301 / 2


def test_attention_without_a_layer_gives_statistics_of_every_head(run, gpt2, tmp_path):
    text = "the cat sat on the mat. the cat"
    files = ["--json", tmp_path / "a.json", "--out", tmp_path / "a.html"]
    result = run("attention", gpt2, text, "--statistics", "entropy, energy,histogram", *files)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "a.json").read_text())
    model = wb.load(gpt2)
    _, cache = model.run_with_cache(text, names_filter="mixer.hook_pattern")
    assert [mixer["layer"] for mixer in written["statistics"]["mixers"]] == [0, 1]
    for layer, mixer in enumerate(written["statistics"]["mixers"]):
        pattern = cache["pattern", layer][0].detach().double()
        entropy = torch.special.entr(pattern).sum(-1).mean(-1)
        np.testing.assert_allclose(mixer["averages"]["entropy"], entropy, rtol=1e-4)
        np.testing.assert_allclose(mixer["averages"]["energy"], pattern.square().sum(-1).mean(-1), rtol=1e-4)
        assert sum(mixer["histogram"][0]) == pytest.approx(pattern.shape[-1], rel=1e-4)
    assert "entropy (nats)" in result.stdout and "4 heads" in result.stdout
    page = Dom((tmp_path / "a.html").read_text())
    assert page.text["h1"] == [f"{gpt2}: how each head reads {len(written['tokens'])} tokens"]


def test_bad_requests_for_statistics_are_one_sentence(refused, gpt2):
    text = ["the cat"]
    assert "no statistic 'entropie'; there is mass" in refused("attention", gpt2, *text, "--statistics", "entropie")
    assert "--layer" in refused("attention", gpt2, *text, "--head", 1)
    assert "limit is 1" in refused("attention", gpt2, *text, "--max-tokens", 1)
