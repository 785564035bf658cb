"""Looks at files before a library tries to load them, so that a broken one is named in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

from workbench.errors import LoadError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "spiece.model")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def check_directory(path: Path, trust_pickle: bool) -> None:
    """Refuse a directory that holds no model, no trusted weights, or broken safetensors.

    Raises:
        LoadError: says which, and what would be right.
    """
    config = path / "config.json"
    if not config.is_file():
        gguf = sorted(path.glob("*.gguf"))
        hint = f"pass the file {gguf[0]}" if gguf else "a model directory has a config.json"
        raise LoadError(f"{path} is a directory but no model: {hint}.")
    try:
        json.loads(config.read_text("utf-8"))
    except ValueError as error:
        raise LoadError(f"{config} is no valid JSON: {error}.") from error
    weights = sorted(path.glob("*.safetensors"))
    pickles = sorted(found for pattern in PICKLES for found in path.glob(pattern))
    if not weights and pickles and not trust_pickle:
        raise LoadError(
            f"The weights in {path} are a pickle ({pickles[0].name}), which can run code while it loads; "
            "convert them to safetensors, or pass trust_pickle=True if you trust where they come from."
        )
    if not weights and not pickles:
        raise LoadError(f"{path} has a config.json but no weights; a file model.safetensors is needed.")
    for file in weights:
        check_safetensors(file)


def check_safetensors(path: Path) -> None:
    """Refuse a safetensors file that is corrupt or truncated; reads its header only."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise LoadError(f"{path} is corrupt or truncated: {error}.") from error


def check_gguf(path: Path) -> None:
    """Refuse a file that is missing, no GGUF, or a GGUF that ends too early; maps it without reading the weights."""
    if not path.is_file():
        raise LoadError(f"There is no file {path}.")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise LoadError(f"{path} is no GGUF file: it begins with {magic!r}, not with b'GGUF'.")
    import gguf

    try:
        gguf.GGUFReader(path)
    except Exception as error:  # the reader trips over whatever a truncated file lacks
        raise LoadError(f"{path} is corrupt or truncated: its header promises more than the file holds.") from error


def has_tokenizer(path: Path) -> bool:
    """Whether a model directory brings a tokenizer."""
    return any((path / name).is_file() for name in TOKENIZER_FILES)
