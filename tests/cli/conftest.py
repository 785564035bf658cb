from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from workbench.cli import app

# A vocabulary can hold anything, and a page shows one token an element: as a whole it must be inert.
HOSTILE_TOKENS = ["<script>alert(1)</script>", "</script>", "<img src=x onerror=alert(2)>"]

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """The command line, in this process: ``run("info", path)``."""

    def invoke(*arguments: Any) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], terminal_width=200)

    return invoke


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Run a command that must end with code 2 and one sentence on standard error; gives the sentence."""

    def invoke(*arguments: Any) -> str:
        result = run(*arguments)
        assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("Error: "), result.stderr
        return lines[0].removeprefix("Error: ")

    return invoke


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a random GPT-2 of 2 layers and a byte-level tokenizer, `HOSTILE_TOKENS` included."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "gpt2"
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(["the cat sat on the mat. the cat sat."] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<|endoftext|>")
    tokenizer.add_tokens(HOSTILE_TOKENS)
    config = GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a random Mamba-1 of 2 layers and 40 channels, without a tokenizer."""
    from transformers import MambaConfig, MambaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "mamba"
    config = MambaConfig(vocab_size=100, hidden_size=20, state_size=4, num_hidden_layers=2, time_step_rank=4)
    MambaForCausalLM(config).save_pretrained(folder)
    return folder
