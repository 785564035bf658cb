"""What is shipped is what its card says."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tokenizers import Tokenizer

from workbench.zoo import ZooModel, available, directory, load
from workbench.zoo.recipe.card import write_card
from workbench.zoo.recipe.evaluate import copy_accuracy


@pytest.fixture(params=available())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def english_loss(model: ZooModel, tokenizer: Tokenizer) -> float:
    """Nats a token of a phrase that opens many of the addresses the members were trained on."""
    ids = torch.tensor([[0, *tokenizer.encode("To the Senate and House of Representatives of the United States").ids]])
    with torch.no_grad():
        logits = model(ids).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, ids[0, 1:]).item()


def test_these_members_are_shipped() -> None:
    transformers, recurrent = ["attention"], "gated_delta gla gru lstm mamba mamba2 mlstm retnet rg_lru rwkv4 rwkv7"
    assert available() == [*transformers, *recurrent.split()]


def test_copy_accuracy_is_what_the_evaluation_says(name: str) -> None:
    report = json.loads((directory(name) / "evaluation.json").read_text())
    model, _ = load(name)
    for length in (8, 32):
        # Another seed than the card's: four standard errors, as if the tokens of a sequence stood or fell together.
        stated = report["copy"][str(length)]
        noise = 4 * (stated * (1 - stated) / 64) ** 0.5 + 0.02
        assert abs(copy_accuracy(model, length, seed=5) - stated) < noise


def test_a_model_that_lost_its_last_mixer_would_not_pass(name: str) -> None:
    # The previous test can fail: the same measurement tells a damaged model from a whole one. What never copied is told
    # by how it predicts English.
    report = json.loads((directory(name) / "evaluation.json").read_text())
    model, tokenizer = load(name)
    whole = english_loss(model, tokenizer)
    for block in model.blocks:
        output = next(name for name, _ in block.mixer.named_children() if name in ("o_proj", "out_proj", "output"))
        torch.nn.init.zeros_(block.mixer.get_submodule(output).weight)
    assert english_loss(model, tokenizer) > whole + 1.0
    if report["copy"]["8"] > 0.4:
        assert copy_accuracy(model, 8, sequences=16, seed=5) < report["copy"]["8"] - 0.3


def test_the_card_is_the_one_written_from_the_evaluation(name: str) -> None:
    report = json.loads((directory(name) / "evaluation.json").read_text())
    assert (directory(name) / "README.md").read_text() == write_card(name, report)


STARTS = ("embedding_range", "embedding_mean", "final_norm")  # where training starts, which the cards declare


def test_members_share_everything_but_the_mixer_and_the_start() -> None:
    configs = [json.loads((directory(n) / "config.json").read_text()) for n in available()]
    reports = [json.loads((directory(n) / "evaluation.json").read_text()) for n in available()]
    tokenizers = {(directory(n) / "tokenizer.json").read_text() for n in available()}
    own = {"mixer", "mixer_options", *STARTS}
    shared = [{key: value for key, value in config.items() if key not in own} for config in configs]
    assert all(config == shared[0] for config in shared)
    assert all(report["settings"] == reports[0]["settings"] for report in reports)
    assert {report["steps"] for report in reports} == {reports[0]["settings"]["steps"]}
    assert len(tokenizers) == 1


def test_a_member_predicts_english_better_than_chance(name: str) -> None:
    assert english_loss(*load(name)) < 4.0  # chance is ln 2048 = 7.6


def test_loading_needs_no_transformers() -> None:
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "from workbench.zoo import available, load\n"
        "[load(name) for name in available()]"
    )
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
