"""What a hooked model says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from workbench.families.layouts import ModelLayout


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and names of a hooked model.

    Attributes:
        model_name: where it came from, for people.
        architecture: class name of the wrapped module.
        family: family of the mixers, or ``"hybrid"``; `families` has one entry a layer, such as ``"mamba2"``,
            ``"falcon_h1+softmax"`` (two mixers side by side) or ``"none"`` (an MLP alone).
        n_layers: residual blocks.
        d_model: width of the residual stream.
        n_heads: heads that carry their own implicit attention (channels, in Mamba-1); a list where layers differ. Of a
            layer with several mixers it is the first one's, of a layer without any it is 0; `d_head` alike.
        d_head: value channels a head; a list where layers differ.
        d_vocab: tokens with an embedding.
        n_ctx: positions, or None where nothing limits them.
        dtype, device: of the weights.
        additive: whether every block's output is its input plus what mixer and MLP write.
    """

    model_name: str
    architecture: str
    family: str
    families: list[str]
    n_layers: int
    d_model: int
    n_heads: int | list[int]
    d_head: int | list[int]
    d_vocab: int
    n_ctx: int | None
    dtype: torch.dtype
    device: torch.device
    additive: bool


def describe(module: nn.Module, layout: ModelLayout, model_name: str) -> ModelConfig:
    """The configuration of a module whose parts have been found."""
    kinds = [block.family for block in layout.blocks]
    used = {adapter.family for adapter in layout.every_adapter}
    weight = layout.embed.weight
    return ModelConfig(
        model_name=model_name,
        architecture=type(module).__name__,
        family=used.pop() if len(used) == 1 else "hybrid",
        families=kinds,
        n_layers=len(kinds),
        d_model=layout.d_model,
        n_heads=_one_or_all([adapter.n_heads for adapter in layout.adapters]),
        d_head=_one_or_all([adapter.d_value for adapter in layout.adapters]),
        d_vocab=layout.embed.num_embeddings,
        n_ctx=None if all(adapter.recurrent for adapter in layout.every_adapter) else _positions(module),
        dtype=weight.dtype,
        device=weight.device,
        additive=all(block.additive for block in layout.blocks),
    )


def _one_or_all(numbers: list[int]) -> int | list[int]:
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _positions(module: nn.Module) -> int | None:
    config: Any = getattr(module, "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "n_ctx"):
        found = getattr(config, name, None)
        if isinstance(found, int):
            return found
    return None
