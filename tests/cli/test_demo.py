import json
from pathlib import Path

import pytest
import torch

from tests.workbench.test_report import Dom
from workbench.cli.findings import clear_heads
from workbench.probes.heads.table import head_table
from workbench.zoo import loading


@pytest.fixture
def small_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of three random members, in the place of the shipped one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from workbench.zoo.config import ZooConfig
    from workbench.zoo.model import ZooModel

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    pieces.train_from_iterator(["the cat sat"], trainer)
    for member, options in {
        "mamba2": {"head_dim": 16, "state_size": 8},
        "attention": {"n_heads": 4},
        "mamba": {"state_size": 4},
    }.items():
        folder = tmp_path / "zoo" / member
        folder.mkdir(parents=True)
        torch.manual_seed(0)
        config = ZooConfig(
            mixer=member, vocab_size=300, d_model=32, n_layers=2, d_mlp=48, context=128, mixer_options=options
        )
        loading.write_weights(ZooModel(config), folder / "model.safetensors")
        (folder / "config.json").write_text(config.to_json())
        pieces.save(str(folder / "tokenizer.json"))
    monkeypatch.setattr(loading, "WEIGHTS", tmp_path / "zoo")
    return tmp_path / "zoo"


@pytest.mark.slow
def test_the_demo_runs_the_whole_job_on_every_member(run, small_zoo, tmp_path):
    result = run("demo", "--quick", "--out", tmp_path / "out", "--json", tmp_path / "demo.json")
    assert result.exit_code == 0, (result.output, result.exception)
    order = [result.stdout.index(f"zoo:{member}:") for member in ("attention", "mamba", "mamba2")]
    assert order == sorted(order)
    assert str(tmp_path / "out" / "report.html") in result.stdout
    assert "workbench attention zoo:mamba2" in result.stdout
    members = json.loads((tmp_path / "demo.json").read_text())["members"]
    assert [member["model"]["family"] for member in members] == ["softmax", "mamba", "mamba2"]
    for member in members:
        assert [found["kind"] for found in member["findings"]] == ["induction", "previous_token", "duplicate_token"]
        assert all(row["check_mixer"] < 1e-5 for row in member["check"])
        for found in member["findings"]:
            assert [row["condition"] for row in found["ablation"]] == ["baseline", "top", "random"]
    page = Dom((tmp_path / "out" / "report.html").read_text())
    assert page.text["h2"][:3] == ["zoo:attention", "zoo:mamba", "zoo:mamba2"]
    data = json.loads(next(t for a, t in zip(page.named("script"), page.text["script"], strict=True) if a.get("id")))
    # A member has one matrix view, one plot of bars and one score map for each of three kinds.
    assert (len(data["matrices"]), len(data["figures"])) == (3, 12)


def test_the_demo_refuses_a_member_it_does_not_know(refused, small_zoo, tmp_path):
    sentence = refused("demo", "--members", "attention,gru", "--out", tmp_path / "out")
    assert "'gru'" in sentence and "attention, mamba, mamba2" in sentence


def test_the_demo_says_so_where_the_zoo_is_empty(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "WEIGHTS", tmp_path / "nothing")
    assert "The zoo is empty" in refused("demo", "--out", tmp_path / "out")


def test_a_head_is_clear_when_it_beats_its_null_and_stands_near_the_best():
    scores = [0.9, 0.8, 0.5, 0.44, 0.3, *[0.01] * 19]
    lows = [0.8, 0.02, 0.49, 0.43, 0.2, *[0.0] * 19]
    rows = [
        {"layer": 0, "head": head, "site": f"L0H{head}", "score": score, "low": low, "high": 1.0, "null": 0.05}
        for head, (score, low) in enumerate(zip(scores, lows, strict=True))
    ]
    # L0H1 is not surely above its null, L0H3 has less than half of the best score.
    assert clear_heads(head_table(rows)) == ["L0H0", "L0H2"]


def test_no_head_is_clear_when_all_of_them_read_elsewhere():
    rows = [
        {"layer": 0, "head": head, "site": f"L0H{head}", "score": 0.09, "low": 0.08, "high": 0.1, "null": 0.01}
        for head in range(8)
    ]
    assert clear_heads(head_table(rows)) == []
