"""Small checkpoints with the published keys and shapes, written to disk, and what they compute, from the keys alone.

The names and shapes are those of flash-linear-attention 0.6; nothing here uses the native models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.zoo import recurrences
from tests.zoo.recurrences import decayed, delta, projected, rms_normed, sigmoid, silu, unit_heads

WIDTH, LAYERS, VOCABULARY, HEADS, EPS = 24, 3, 40, 2, 1e-6
COMMON = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCABULARY,
    "num_heads": HEADS,
    "hidden_act": "swish",
    "norm_eps": EPS,
    "tie_word_embeddings": False,
    "attn": None,
    "fuse_norm": True,
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "gla": {"expand_k": 0.5, "expand_v": 1.0, "hidden_ratio": 4, "clamp_min": None, "use_gk": True},
    "retnet": {"expand_k": 1.0, "expand_v": 2.0, "intermediate_size": 20},
    "delta_net": {"expand_k": 1.0, "expand_v": 1.0, "hidden_ratio": 4, "use_short_conv": True, "use_gate": False},
    "hgrn2": {"expand_ratio": WIDTH // HEADS, "num_heads": None, "hidden_ratio": 4, "use_lower_bound": True},
}
MLP = {"gla": 256, "retnet": 20, "delta_net": 256, "hgrn2": 256}  # 24 x 4 x 2/3 = 64, up to a multiple of 256
NORM = {"gla": "g_norm_swish_gate", "retnet": "g_norm_swish_gate", "delta_net": "o_norm", "hgrn2": "g_norm"}


def configuration(family: str, **changed: Any) -> dict[str, Any]:
    """The config.json of a small checkpoint."""
    return {"model_type": family, "architectures": ["ForCausalLM"], **COMMON, **CONFIGURATIONS[family], **changed}


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Every key of the checkpoint."""
    found: dict[str, tuple[int, ...]] = {
        "model.embeddings.weight": (VOCABULARY, WIDTH),
        "model.norm.weight": (WIDTH,),
        "lm_head.weight": (VOCABULARY, WIDTH),
    }
    inner = {
        "gla": {
            "q_proj.weight": (12, 24), "k_proj.weight": (12, 24), "v_proj.weight": (24, 24), "g_proj.weight": (24, 24),
            "gk_proj.0.weight": (16, 24), "gk_proj.1.weight": (12, 16), "gk_proj.1.bias": (12,),
            "g_norm_swish_gate.weight": (12,), "o_proj.weight": (24, 24),
        },
        "retnet": {
            "q_proj.weight": (24, 24), "k_proj.weight": (24, 24), "v_proj.weight": (48, 24), "g_proj.weight": (48, 24),
            "g_norm_swish_gate.weight": (24,), "o_proj.weight": (24, 48),
        },
        "delta_net": {
            "q_proj.weight": (24, 24), "k_proj.weight": (24, 24), "v_proj.weight": (24, 24), "b_proj.weight": (2, 24),
            "q_conv1d.weight": (24, 1, 4), "k_conv1d.weight": (24, 1, 4), "v_conv1d.weight": (24, 1, 4),
            "o_norm.weight": (12,), "o_proj.weight": (24, 24),
        },
        "hgrn2": {
            "q_proj.weight": (24, 24), "f_proj.weight": (24, 24), "i_proj.weight": (24, 24),
            "g_norm.weight": (24,), "o_proj.weight": (24, 24),
        },
    }  # fmt: skip
    if family == "hgrn2":
        found["model.lower_bounds"] = (LAYERS, WIDTH)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        found |= {f"{prefix}.attn_norm.weight": (WIDTH,), f"{prefix}.mlp_norm.weight": (WIDTH,)}
        found |= {f"{prefix}.attn.{name}": shape for name, shape in inner[family].items()}
        found |= {f"{prefix}.mlp.{name}_proj.weight": (MLP[family], WIDTH) for name in ("gate", "up")}
        found[f"{prefix}.mlp.down_proj.weight"] = (WIDTH, MLP[family])
    return found


def tensors(family: str) -> dict[str, Tensor]:
    """Random weights under every key."""
    return {name: 0.4 * torch.randn(shape, dtype=torch.float64) for name, shape in shapes(family).items()}


def write(directory: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Path:
    """The checkpoint as files."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.clone() for name, tensor in weights.items()}, directory / "model.safetensors")
    return directory


def logits(family: str, weights: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """``[time, vocabulary]`` of one sequence, by loops over layers and tokens."""
    stream = weights["model.embeddings.weight"][tokens]
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        own = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        mixer = {name.removeprefix("attn."): tensor for name, tensor in own.items() if name.startswith("attn.")}
        x = torch.stack([rms_normed(token, EPS) * own["attn_norm.weight"] for token in stream])
        stream = stream + _mixed(family, mixer, x, layer, weights)
        x = torch.stack([rms_normed(token, EPS) * own["mlp_norm.weight"] for token in stream])
        hidden = silu(x @ own["mlp.gate_proj.weight"].T) * (x @ own["mlp.up_proj.weight"].T)
        stream = stream + hidden @ own["mlp.down_proj.weight"].T
    final = torch.stack([rms_normed(token, EPS) * weights["model.norm.weight"] for token in stream])
    return final @ weights["lm_head.weight"].T


def _mixed(family: str, given: Mapping[str, Tensor], x: Tensor, layer: int, weights: Mapping[str, Tensor]) -> Tensor:
    names = "qfi" if family == "hgrn2" else "qkv"
    activation = silu if family == "delta_net" else lambda y: y
    q, k, v = (projected(given, name, x, activation) for name in names)
    if family == "gla":

        def decay(token: Tensor, head: int, size: int) -> Tensor:
            low = given["gk_proj.1.weight"] @ (given["gk_proj.0.weight"] @ token) + given["gk_proj.1.bias"]
            return sigmoid(low[head * size : (head + 1) * size]) ** (1 / 16)

        read = recurrences.run(q, k, v, x, HEADS, decayed(decay))
    elif family == "retnet":

        def decay(token: Tensor, head: int, size: int) -> Tensor:
            return torch.full((size,), 1 - 2.0 ** (-5 - head), dtype=token.dtype)

        read = recurrences.run(_turned(q), _turned(k), v, x, HEADS, decayed(decay))
    elif family == "delta_net":

        def keep(token: Tensor, head: int, size: int) -> Tensor:
            return torch.ones(size, dtype=token.dtype)

        def strength(token: Tensor, head: int) -> Tensor:
            return sigmoid(given["b_proj.weight"][head] @ token)

        read = recurrences.run(unit_heads(q, HEADS), unit_heads(k, HEADS), v, x, HEADS, delta(keep, strength))
    else:
        shares = torch.exp(weights["model.lower_bounds"])
        shares = shares / shares.sum(0)
        bound = sum((shares[i] for i in range(1, layer + 1)), torch.zeros(WIDTH, dtype=x.dtype))

        def forget(token: Tensor) -> Tensor:
            return bound + (1 - bound) * sigmoid(given["f_proj.weight"] @ token)

        def decay(token: Tensor, head: int, size: int) -> Tensor:
            return forget(token)[head * size : (head + 1) * size]

        keys = torch.stack([1 - forget(token) for token in x])
        read = recurrences.run(silu(q), keys, v, x, HEADS, decayed(decay))
    rows = []
    for outputs, token in zip(read, x, strict=True):
        weight = given[f"{NORM[family]}.weight"]
        if family == "hgrn2":
            row = rms_normed(outputs.flatten(), EPS) * weight
        else:
            row = torch.stack([rms_normed(head, EPS) * weight for head in outputs]).flatten()
        if "g_proj.weight" in given:
            row = row * silu(given["g_proj.weight"] @ token)
        rows.append(given["o_proj.weight"] @ row)
    return torch.stack(rows)


def _turned(flat: Tensor) -> Tensor:
    """Rotary positions, each pair ``(i, i + half)`` as a complex number."""
    heads = flat.unflatten(-1, (HEADS, -1))
    half = heads.shape[-1] // 2
    angle = torch.outer(torch.arange(len(flat)).double(), 10_000 ** (-torch.arange(half).double() / half))
    turned = torch.complex(heads[..., :half], heads[..., half:]) * torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.cat([turned.real, turned.imag], dim=-1).flatten(-2)
