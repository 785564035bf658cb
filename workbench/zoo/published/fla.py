"""Checkpoints of flash-linear-attention (the fla-hub organisation): GLA, RetNet, DeltaNet, HGRN2.

All of them are decoders of one kind: embedding; blocks of norm, mixer, norm, gated MLP, each half added to the residual
stream; norm; unembedding. `DECODER` says where their files have these, `MIXERS` where they have each mixer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.zoo.config import ZooConfig
from workbench.zoo.model import Block, Decoder, RMSNorm
from workbench.zoo.published.configuration import Configuration
from workbench.zoo.published.keys import KeyMap, Stored
from workbench.zoo.published.registry import register

DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "vocab_size": 32000,
    "hidden_ratio": 4,
    "intermediate_size": None,
    "hidden_act": "swish",
    "norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "use_short_conv": False,
    "conv_size": 4,
    "use_output_gate": True,
    "elementwise_affine": True,
}
"""What a configuration means that leaves a key out."""

_LAYER, _MIXER = "model.layers.{layer}", "blocks.{layer}.mixer"

DECODER: KeyMap = {
    "embed.weight": "model.embeddings.weight",
    "norm.weight": "model.norm.weight",
    "unembed.weight": "lm_head.weight",
    "blocks.{layer}.norm1.weight": f"{_LAYER}.attn_norm.weight",
    "blocks.{layer}.norm2.weight": f"{_LAYER}.mlp_norm.weight",
    "blocks.{layer}.mlp.down_proj.weight": f"{_LAYER}.mlp.down_proj.weight",
}
"""The decoder but for the mixers and what `_computed` computes."""


def _same(*names: str) -> dict[str, str | Stored]:
    return {f"{_MIXER}.{name}": f"{_LAYER}.attn.{name}" for name in names}


def _either(*names: str) -> Stored:
    return Stored(tuple(f"{_LAYER}.attn.{name}" for name in names))


_PROJECTIONS = _same("q_proj.weight", "k_proj.weight", "v_proj.weight", "g_proj.weight", "o_proj.weight")
_CONVOLUTIONS = _same("q_conv1d.weight", "k_conv1d.weight", "v_conv1d.weight")
# With a fused norm and gate the norm has the name of both.
_GATED_NORM = {f"{_MIXER}.o_norm": _either("g_norm_swish_gate.weight", "g_norm.weight")}

MIXERS: Mapping[str, KeyMap] = {
    "gla": {
        **_PROJECTIONS,
        **_CONVOLUTIONS,
        **_GATED_NORM,
        **_same("gk_proj.0.weight", "gk_proj.1.weight", "gk_proj.1.bias"),
    },
    "retnet": {**_PROJECTIONS, **_CONVOLUTIONS, **_GATED_NORM},
    "deltanet": {
        **_PROJECTIONS,
        **_CONVOLUTIONS,
        **_same("b_proj.weight"),
        f"{_MIXER}.o_norm": _either("o_norm.weight"),
    },
    "hgrn2": {
        **_same("q_proj.weight", "f_proj.weight", "i_proj.weight", "o_proj.weight"),
        **_same("q_conv1d.weight", "f_conv1d.weight", "i_conv1d.weight"),
        f"{_MIXER}.o_norm": _either("g_norm.weight"),
    },
}
"""Each mixer's parameters, by the native mixer's name; HGRN2's lower bounds are among what `_computed` computes."""


@dataclass(frozen=True)
class Family:
    """One family of checkpoints.

    Attributes:
        mixer: the native mixer.
        defaults: what differs from `DEFAULTS`.
        options: the mixer's options from a configuration; refuses what the mixer does not have.
    """

    mixer: str
    defaults: Mapping[str, Any]
    options: Callable[[Configuration], dict[str, Any]]


def _widths(config: Configuration) -> dict[str, Any]:
    return {
        "n_heads": config.count("num_heads"),
        "expand_k": config.number("expand_k"),
        "expand_v": config.number("expand_v"),
        "short_conv": config.switch("use_short_conv"),
        "conv_size": config.count("conv_size"),
    }


def _gated(config: Configuration) -> dict[str, Any]:
    config.only("feature_map", None)
    config.only("num_kv_heads", None, config["num_heads"])
    return {
        **_widths(config),
        "output_gate": config.switch("use_output_gate"),
        "norm_weight": config.switch("elementwise_affine"),
    }


def _gla(config: Configuration) -> dict[str, Any]:
    config.only("clamp_min", None)
    return _gated(config)


def _retnet(config: Configuration) -> dict[str, Any]:
    # Its models do not hand the key on to their layers: there are no convolutions, whatever it says.
    return {**_gated(config), "short_conv": False}


def _deltanet(config: Configuration) -> dict[str, Any]:
    config.only("qk_activation", "silu")
    config.only("qk_norm", "l2")
    config.only("use_beta", True)
    return {
        **_widths(config),
        "output_gate": config.switch("use_gate"),
        "double_beta": config.switch("allow_neg_eigval"),
    }


def _hgrn2(config: Configuration) -> dict[str, Any]:
    ratio = config["expand_ratio"]
    return {
        "n_heads": config.count("num_heads") if ratio is None else config.count("hidden_size") // max(1, int(ratio)),
        "short_conv": config.switch("use_short_conv"),
        "conv_size": config.count("conv_size"),
        "lower_bound": config.switch("use_lower_bound"),
        "norm_weight": config.switch("elementwise_affine"),
    }


FAMILIES: Mapping[str, Family] = {
    "gla": Family("gla", {"expand_k": 0.5, "expand_v": 1.0, "num_heads": 4}, _gla),
    "retnet": Family("retnet", {"expand_k": 1.0, "expand_v": 2.0, "num_heads": 8, "hidden_ratio": 2}, _retnet),
    "delta_net": Family(
        "deltanet",
        {
            "expand_k": 1.0, "expand_v": 1.0, "num_heads": 16, "use_short_conv": True, "use_gate": False,
            "use_beta": True, "allow_neg_eigval": False, "qk_norm": "l2", "qk_activation": "silu",
        },
        _deltanet,
    ),
    "hgrn2": Family("hgrn2", {"expand_ratio": 128, "use_lower_bound": True}, _hgrn2),
}  # fmt: skip
"""The families by the ``model_type`` of their configuration."""


def mlp_width(config: Configuration) -> int:
    """Hidden width of the gated MLP: as given, or two thirds of ``hidden_ratio`` widths, up to a multiple of 256."""
    if config["intermediate_size"] is not None:
        return config.count("intermediate_size")
    ratio = 4 if config["hidden_ratio"] is None else config.number("hidden_ratio")
    return -(-int(config.count("hidden_size") * ratio * 2 / 3) // 256) * 256


def _computed(shape: ZooConfig) -> dict[str, str | Stored]:
    """The parameters that are not stored as they are.

    Early checkpoints keep both MLP inputs in one matrix, the gate's rows first. HGRN2's lower bounds are running sums
    of shares over the layers, from the second on; a native mixer has the logarithm of the odds of its own.
    """
    gate, value = f"{_LAYER}.mlp.gate_proj.weight", f"{_LAYER}.mlp.up_proj.weight"

    def gate_rows(stored: Tensor, layer: int) -> Tensor:
        return stored[: shape.d_mlp] if stored.shape[0] == 2 * shape.d_mlp else stored

    def value_rows(stored: Tensor, layer: int) -> Tensor:
        return stored[shape.d_mlp :] if stored.shape[0] == 2 * shape.d_mlp else stored

    def bound(stored: Tensor, layer: int) -> Tensor:
        if stored.shape != (shape.n_layers, shape.d_model):
            return stored  # reported with its shape
        shares = stored.to(torch.promote_types(stored.dtype, torch.float32)).softmax(0)
        return shares[1 : layer + 1].sum(0).logit(eps=torch.finfo(shares.dtype).eps)

    return {
        "blocks.{layer}.mlp.gate_proj.weight": Stored((gate,), gate_rows),
        "blocks.{layer}.mlp.up_proj.weight": Stored((value, gate), value_rows),
        f"{_MIXER}.lower_bound": Stored(("model.lower_bounds",), bound),
    }


def build(values: Mapping[str, Any]) -> tuple[Decoder, KeyMap]:
    """The native model of a configuration, and where its checkpoints have the weights.

    Raises:
        LoadError: a size is no positive number.
        UnsupportedFamilyError: a variant that the native model does not have; the message names the key.
    """
    family = FAMILIES[values["model_type"]]
    config = Configuration(values, {**DEFAULTS, **family.defaults})
    config.only("hidden_act", "swish", "silu")
    config.only("attn", None)  # layers of softmax attention between the others
    config.only("attnres_block_size", None)
    shape = ZooConfig(
        mixer=family.mixer,
        vocab_size=config.count("vocab_size"),
        d_model=config.count("hidden_size"),
        n_layers=config.count("num_hidden_layers"),
        d_mlp=mlp_width(config),
        norm_eps=config.number("norm_eps"),
        mixer_options=family.options(config),
    )
    model = Decoder(
        shape.vocab_size,
        shape.d_model,
        (Block(shape, layer) for layer in range(shape.n_layers)),
        RMSNorm(shape.d_model, shape.norm_eps),
        tied=config.switch("tie_word_embeddings"),
    )
    return model, {**DECODER, **MIXERS[family.mixer], **_computed(shape)}


for _name in FAMILIES:
    register(_name)(build)
