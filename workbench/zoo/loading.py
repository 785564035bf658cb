"""Finding, reading and writing the members of the zoo. No network, no pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

WEIGHTS = Path(__file__).with_name("weights")


def available() -> list[str]:
    """Names of the shipped members, sorted."""
    return sorted(path.parent.name for path in WEIGHTS.glob("*/model.safetensors"))


def directory(name: str) -> Path:
    """Where a shipped member lies: ``model.safetensors``, ``config.json``, ``tokenizer.json``, ``README.md``.

    Raises:
        FileNotFoundError: there is no such member; the message lists those there are.
    """
    if name not in available():
        raise FileNotFoundError(f"the zoo has no member {name!r}; it has {available()}")
    return WEIGHTS / name


def load(
    name: str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> tuple[ZooModel, Tokenizer]:
    """A shipped member, in evaluation mode, and its tokenizer.

    Raises:
        FileNotFoundError: see ``directory``.
    """
    return load_directory(directory(name), dtype, device)


def load_directory(
    path: Path | str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> tuple[ZooModel, Tokenizer]:
    """As ``load``, from any directory that ``save_directory`` wrote."""
    path = Path(path)
    model = ZooModel(ZooConfig.from_file(path / "config.json"))
    read_weights(model, path / "model.safetensors")
    return model.to(device=device, dtype=dtype).eval(), Tokenizer.from_file(str(path / "tokenizer.json"))


def read_weights(model: ZooModel, path: Path | str) -> None:
    """Copy the weights of a safetensors file into a model; the tied unembedding is stored once, as ``embed``."""
    weights = load_file(path)
    weights["unembed.weight"] = weights["embed.weight"]
    model.load_state_dict(weights)


def write_weights(model: ZooModel, path: Path | str, dtype: torch.dtype | None = None) -> None:
    """Write the weights as safetensors, in the model's dtype or another; whole or not at all."""
    from workbench.report.files import replacing

    weights = {
        name: tensor.detach().to(dtype or tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "unembed.weight"
    }
    path = Path(path)
    with replacing(path) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})
