"""The authors' package, run in an environment of its own, on the same model, rows and steps.

It needs packages that this environment does not have, so it is asked for: ``TUNED_LENS_PEER=1 pytest -s``.
"""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.environments import overlay
from workbench.model import HookedModel
from workbench.probes.lenses import (
    LogitLens,
    TunedLensOptions,
    evaluate_lenses,
    load_tuned_lens,
    save_tuned_lens,
    train_tuned_lens,
)
from workbench.probes.lenses import training as module

PACKAGES = (
    "tuned-lens==0.2.0",
    "torchdata==0.7.1",
    "simple-parsing==0.1.9",
    "flatten-dict==0.5.0",
    "docstring-parser==0.18.0",
)
STEPS, ROWS, LENGTH = 60, 8, 64
SIZES = {"vocab_size": 500, "n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": LENGTH}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("TUNED_LENS_PEER" not in os.environ, reason="TUNED_LENS_PEER=1 asks for the authors' package."),
]


def test_the_same_rows_and_steps_give_the_loss_of_the_authors_package(tmp_path: Path) -> None:
    python = overlay("tuned-lens", PACKAGES)
    config = GPT2Config(**SIZES, initializer_range=0.15, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")
    model = HookedModel(GPT2LMHeadModel.from_pretrained(tmp_path / "model"))
    tokens = torch.randint(0, config.vocab_size, (STEPS * ROWS + 16, LENGTH))
    held_out, tokens = tokens[:16], tokens[16:]
    options = TunedLensOptions(steps=STEPS, rows=ROWS)
    ordered = torch.cat([module._rows(tokens, step, options) for step in range(STEPS)])
    torch.save(ordered, tmp_path / "rows.pt")
    script = Path(__file__).with_name("authors_training.py")
    run = subprocess.run([python, script, tmp_path, str(STEPS)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]

    ours = train_tuned_lens(model, tokens, options).lens
    theirs = load_tuned_lens(tmp_path / "theirs", model)  # and so their files are ours
    theirs.name = "authors"
    table = evaluate_lenses([LogitLens(model), ours, theirs], held_out)
    kl = table.pivot(index="depth", columns="lens", values="kl")[:-1]
    print(kl)
    assert bool((kl["tuned lens"] < 0.9 * kl["logit lens"]).all())
    torch.testing.assert_close(
        torch.tensor(kl["tuned lens"].to_numpy()), torch.tensor(kl["authors"].to_numpy()), rtol=0.03, atol=0
    )

    save_tuned_lens(ours, tmp_path / "ours")
    read = (
        "import sys; from transformers import GPT2LMHeadModel; from tuned_lens import TunedLens; import torch;"
        "model = GPT2LMHeadModel.from_pretrained(sys.argv[1] + '/model');"
        "lens = TunedLens.from_model_and_pretrained(model, sys.argv[1] + '/ours');"
        "torch.save(lens(torch.arange(64.0)[None], 2), sys.argv[1] + '/read.pt')"
    )
    back = subprocess.run([python, "-c", read, tmp_path], capture_output=True, text=True, check=False)
    assert back.returncode == 0, back.stderr[-3000:]
    assert "hash" not in back.stderr  # it warns where the unembedding's hash differs
    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "read.pt"), ours(torch.arange(64.0)[None], 2))
