"""Checkpoints of RWKV-7 (fla-hub's Pile and World models) and RWKV-6 World, on native models.

Three layouts, all with a config.json and safetensors:

* ``model_type: rwkv7``: flash-linear-attention's, ``model.layers.0.attn.r_proj.weight``; the first version's six shares
  in one tensor ``attn.x_x``, too.
* ``model_type: rwkv6``: flash-linear-attention's, ``model.layers.0.attn.r_proj.linear.weight``. Its group norm adds
  ``norm_eps``, as that package computes it, where RWKV's own code adds 64 times as much.
* ``model_type: rwkv6`` with ``head_size_divisor``: the World models for transformers (``RWKV/v6-Finch-1B6-HF``),
  ``rwkv.blocks.0.attention.receptance.weight``. But for prefixes these are the names in BlinkDL's own ``.pth`` files
  (``blocks.0.att.receptance.weight``), which are pickles: convert them first. The ranks are no part of that
  configuration; they are those of the released models. ``rescale_every`` changes no weight in the file and no result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from workbench.zoo.channel_mixing import NormedEmbedding, RWKVBlock
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import Decoder
from workbench.zoo.published.configuration import Configuration
from workbench.zoo.published.keys import KeyMap
from workbench.zoo.published.registry import register
from workbench.zoo.published.rwkv_keys import RWKV6, RWKV6_WORLD, RWKV7

FLA_DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "vocab_size": 32000,
    "intermediate_size": None,
    "hidden_act": "sqrelu",
    "norm_first": True,
    "norm_bias": True,
    "norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
RWKV7_DEFAULTS: Mapping[str, Any] = {
    **FLA_DEFAULTS,
    "hidden_ratio": 4,
    "head_dim": 64,
    "decay_low_rank_dim": 64,
    "gate_low_rank_dim": 128,
    "a_low_rank_dim": 64,
    "v_low_rank_dim": 16,
}
RWKV6_DEFAULTS: Mapping[str, Any] = {
    **FLA_DEFAULTS,
    "hidden_ratio": 3.5,
    "num_heads": 4,
    "expand_k": 0.5,
    "expand_v": 1.0,
    "proj_low_rank_dim": 32,
    "gate_low_rank_dim": 64,
}
WORLD_DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "vocab_size": 65536,
    "intermediate_size": None,
    "attention_hidden_size": None,
    "head_size": 64,
    "head_size_divisor": 8,
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": False,
}


def _fla(config: Configuration, options: Callable[[int], dict[str, Any]], ratio: float, mixer: str) -> ZooConfig:
    config.only("hidden_act", "sqrelu")
    config.only("norm_first", True)
    config.only("norm_bias", True)
    config.only("attn", None)  # layers of softmax attention between the others
    width = config.count("hidden_size")
    hidden = -(-int(width * ratio) // 32) * 32
    return ZooConfig(
        mixer=mixer,
        vocab_size=config.count("vocab_size"),
        d_model=width,
        n_layers=config.count("num_hidden_layers"),
        d_mlp=hidden if config["intermediate_size"] is None else config.count("intermediate_size"),
        norm_eps=config.number("norm_eps"),
        mixer_options=options(width),
    )


def _decoder(shape: ZooConfig, tied: bool, gated: bool) -> Decoder:
    model = Decoder(
        shape.vocab_size,
        shape.d_model,
        (RWKVBlock(shape, layer, gated) for layer in range(shape.n_layers)),
        nn.LayerNorm(shape.d_model, eps=shape.norm_eps),
        tied=tied,
    )
    model.embed = NormedEmbedding(shape.vocab_size, shape.d_model, shape.norm_eps)
    if tied:
        model.unembed.weight = model.embed.weight
    return model


@register("rwkv7")
def rwkv7(values: Mapping[str, Any]) -> tuple[Decoder, KeyMap]:
    """The native RWKV-7 of a configuration, and where its checkpoints have the weights.

    Raises:
        LoadError: a size is no positive number.
        UnsupportedFamilyError: a variant that the native model does not have; the message names the key.
    """
    config = Configuration(values, RWKV7_DEFAULTS)

    def options(width: int) -> dict[str, Any]:
        config.only("value_dim", None, width, [width] * config.count("num_hidden_layers"))
        given = config["head_dim"] is not None
        size = config.count("head_dim") if given else width // config.count("num_heads")
        return {
            "head_dim": size,
            "norm_eps": size * config.number("norm_eps"),
            "rank": {
                "w": config.count("decay_low_rank_dim"),
                "a": config.count("a_low_rank_dim"),
                "g": config.count("gate_low_rank_dim"),
                "v": config.count("v_low_rank_dim"),
            },
        }

    shape = _fla(config, options, 4 if config["hidden_ratio"] is None else config.number("hidden_ratio"), "rwkv7")
    return _decoder(shape, config.switch("tie_word_embeddings"), gated=False), RWKV7


@register("rwkv6")
def rwkv6(values: Mapping[str, Any]) -> tuple[Decoder, KeyMap]:
    """The native RWKV-6 of a configuration, and where its checkpoints have the weights.

    Raises:
        LoadError: a size is no positive number.
        UnsupportedFamilyError: a variant that the native model does not have; the message names the key.
    """
    if "head_size_divisor" in values or "attention_hidden_size" in values:
        return _world(Configuration(values, WORLD_DEFAULTS)), RWKV6_WORLD
    config = Configuration(values, RWKV6_DEFAULTS)

    def options(width: int) -> dict[str, Any]:
        config.only("expand_k", 1)
        config.only("expand_v", 1)
        return {
            "head_dim": width // config.count("num_heads"),
            "norm_eps": config.number("norm_eps"),
            "mix_rank": config.count("proj_low_rank_dim"),
            "rank": config.count("gate_low_rank_dim"),
        }

    shape = _fla(config, options, 3.5 if config["hidden_ratio"] is None else config.number("hidden_ratio"), "rwkv6")
    return _decoder(shape, config.switch("tie_word_embeddings"), gated=True), RWKV6


def _world(config: Configuration) -> Decoder:
    width = config.count("hidden_size")
    config.only("attention_hidden_size", None, width)
    large = width >= 4096
    shape = ZooConfig(
        mixer="rwkv6",
        vocab_size=config.count("vocab_size"),
        d_model=width,
        n_layers=config.count("num_hidden_layers"),
        d_mlp=int(width * 3.5) // 32 * 32 if config["intermediate_size"] is None else config.count("intermediate_size"),
        norm_eps=config.number("layer_norm_epsilon"),
        mixer_options={
            "head_dim": config.count("head_size"),
            "norm_eps": config.number("layer_norm_epsilon") * config.count("head_size_divisor") ** 2,
            "mix_rank": 64 if large else 32,
            "rank": 128 if large else 64,
        },
    )
    return _decoder(shape, config.switch("tie_word_embeddings"), gated=True)
