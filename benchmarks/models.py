"""The models that are raced, as transformers itself loads them; each call gives a fresh one."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from benchmarks import ROOT
from benchmarks.race import CannotMeasure

if TYPE_CHECKING:
    import torch
    from torch import Tensor

GPT2_VOCABULARY = 1024
MAMBA_VOCABULARY = 4096


def tokens(length: int, vocabulary: int, seed: int = 0) -> Tensor:
    """One sequence of random tokens."""
    import torch

    return torch.randint(3, vocabulary, (1, length), generator=torch.Generator().manual_seed(seed))


def smollm2_folder() -> Path:
    """SmolLM2-135M-Instruct as float32 safetensors with its tokenizer, out of the GGUF the tests use; made once.

    Raises:
        CannotMeasure: the GGUF cannot be had here.
    """
    inputs = _real_inputs()
    try:
        source: Path = inputs.smollm2_directory()
    except inputs.Unavailable as reason:
        raise CannotMeasure(str(reason)) from reason
    target = source / "float32"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=source, prefix=".convert-") as scratch:
            _dequantise(source, inputs.FILE_NAME, Path(scratch) / "float32")
            (Path(scratch) / "float32").rename(target)
    return target


def smollm2(attention: str = "eager", dtype: torch.dtype | None = None) -> Any:
    """A transformers LlamaForCausalLM with SmolLM2's weights, 30 layers of 9 heads."""
    import torch
    import transformers

    auto: Any = transformers.AutoModelForCausalLM  # its methods are not typed
    folder = smollm2_folder()
    return auto.from_pretrained(
        folder, dtype=dtype or torch.float32, attn_implementation=attention, local_files_only=True
    ).eval()


def gpt2(attention: str = "eager", dtype: torch.dtype | None = None) -> Any:
    """A transformers GPT2LMHeadModel with random weights: 4 layers of 4 heads, width 128."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config: Any = GPT2Config(
        vocab_size=GPT2_VOCABULARY,
        n_positions=256,
        n_embd=128,
        n_layer=4,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    config._attn_implementation = attention
    model: Any = GPT2LMHeadModel(config)
    return model.to(dtype or torch.float32).eval()


def mamba(
    dtype: torch.dtype | None = None, layers: int = 1, width: int = 768, vocabulary: int = MAMBA_VOCABULARY
) -> Any:
    """A transformers MambaForCausalLM with random weights: mamba-130m's shapes, but for layers and vocabulary."""
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    config = MambaConfig(vocab_size=vocabulary, hidden_size=width, state_size=16, num_hidden_layers=layers, expand=2)
    model: Any = MambaForCausalLM(config)
    return model.to(dtype or torch.float32).eval()


def mamba2(dtype: torch.dtype | None = None, width: int = 768) -> Any:
    """A transformers Mamba2ForCausalLM with random weights: one layer of mamba2-130m's shapes, a small vocabulary."""
    import torch
    from transformers import Mamba2Config, Mamba2ForCausalLM

    torch.manual_seed(0)
    config = Mamba2Config(
        vocab_size=MAMBA_VOCABULARY,
        hidden_size=width,
        state_size=128,
        num_hidden_layers=1,
        expand=2,
        head_dim=64,
        num_heads=2 * width // 64,
        n_groups=1,
    )
    model: Any = Mamba2ForCausalLM(config)
    return model.to(dtype or torch.float32).eval()


def _dequantise(source: Path, file: str, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    # transformers refuses to save what it believes to be quantised; the weights are float32 by now.
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(target)


def _real_inputs() -> ModuleType:
    # By its path: the root is not on the import path here (see benchmarks/__init__.py).
    spec = importlib.util.spec_from_file_location("benchmarks_real_inputs", ROOT / "tests" / "real_inputs.py")
    if spec is None or spec.loader is None:
        raise CannotMeasure(f"{ROOT} holds no tests/real_inputs.py, which knows where SmolLM2 is.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
