"""Where checkpoints of RWKV-6 and RWKV-7 have the weights of the native models."""

from __future__ import annotations

from torch import Tensor

from workbench.zoo.published.keys import KeyMap, Stored
from workbench.zoo.rwkv6 import MIXED

BLOCK, LAYER, WORLD = "blocks.{layer}", "model.layers.{layer}", "rwkv.blocks.{layer}"
FLA_ORDER = "rwkvg"  # of RWKV-6's five shares, where the native mixer has those of `MIXED`


def _flat(*names: str) -> Stored:
    """Stored as ``[1, 1, width]`` or ``[width]``."""
    return Stored(names, lambda stored, layer: stored.flatten())


def _turned(name: str) -> Stored:
    """Stored for multiplication from the right."""
    return Stored((name,), lambda stored, layer: stored.T)


def _same(native: str, stored: str, *names: str) -> dict[str, str | Stored]:
    return {f"{native}.{name}": f"{stored}.{name}" for name in names}


def _norm(native: str, stored: str) -> dict[str, str | Stored]:
    return _same(native, stored, "weight", "bias")


def _low_rank(native: str, stored: str, bias: bool = True) -> dict[str, str | Stored]:
    maps: dict[str, str | Stored] = {
        f"{native}.down.weight": f"{stored}.0.weight",
        f"{native}.up.weight": f"{stored}.2.weight",
    }
    return {**maps, f"{native}.up.bias": f"{stored}.2.bias"} if bias else maps


FLA_DECODER: KeyMap = {
    "embed.weight": "model.embeddings.weight",
    **_norm("embed.norm", "model.layers.0.pre_norm"),
    **_norm("norm", "model.norm"),
    "unembed.weight": "lm_head.weight",
    **_norm(f"{BLOCK}.norm1", f"{LAYER}.attn_norm"),
    **_norm(f"{BLOCK}.norm2", f"{LAYER}.ffn_norm"),
    f"{BLOCK}.mlp.value.weight": f"{LAYER}.ffn.value.weight",
}
"""What RWKV-6 and RWKV-7 of flash-linear-attention have in common."""


def _share(row: int, name: str) -> Stored:
    def taken(stored: Tensor, layer: int) -> Tensor:
        return stored[row].flatten() if stored.shape[0] == 6 else stored.flatten()

    return Stored((f"{LAYER}.attn.x_{name}", f"{LAYER}.attn.x_x"), taken)


RWKV7: KeyMap = {
    **FLA_DECODER,
    **{f"{BLOCK}.mixer.mix.{name}": _share(row, name) for row, name in enumerate("rwkvag")},
    **_same(f"{BLOCK}.mixer", f"{LAYER}.attn", *(f"{name}_proj.weight" for name in "rkvo")),
    **_low_rank(f"{BLOCK}.mixer.w_lora", f"{LAYER}.attn.w_lora.lora"),
    **_low_rank(f"{BLOCK}.mixer.a_lora", f"{LAYER}.attn.a_lora.lora"),
    **_low_rank(f"{BLOCK}.mixer.v_lora", f"{LAYER}.attn.v_lora.lora"),
    **_low_rank(f"{BLOCK}.mixer.g_lora", f"{LAYER}.attn.g_lora.lora", bias=False),
    f"{BLOCK}.mixer.removal": _flat(f"{LAYER}.attn.k_k"),
    f"{BLOCK}.mixer.replacement": _flat(f"{LAYER}.attn.k_a"),
    f"{BLOCK}.mixer.bonus": f"{LAYER}.attn.r_k",
    **_norm(f"{BLOCK}.mixer.norm", f"{LAYER}.attn.g_norm"),
    f"{BLOCK}.mlp.mix.k": _flat(f"{LAYER}.ffn.x_k"),
    f"{BLOCK}.mlp.key.weight": f"{LAYER}.ffn.key.weight",
}
"""RWKV-7 in the layout of flash-linear-attention."""


def _reordered(stored: Tensor) -> Tensor:
    """Five parts in the order of `FLA_ORDER`, put into the order of `MIXED`."""
    return stored[[FLA_ORDER.index(name) for name in MIXED]]


def _row(name: str) -> Stored:
    return Stored((f"{LAYER}.attn.x_bias",), lambda stored, layer: stored[FLA_ORDER.index(name)])


RWKV6: KeyMap = {
    **FLA_DECODER,
    f"{BLOCK}.mixer.mix.x": f"{LAYER}.attn.x_proj.0.mu",
    **{f"{BLOCK}.mixer.mix.{name}": _row(name) for name in MIXED},
    f"{BLOCK}.mixer.mix_down.weight": Stored(
        (f"{LAYER}.attn.x_proj.0.linear.weight",),
        lambda stored, layer: _reordered(stored.unflatten(0, (len(MIXED), -1))).flatten(0, 1),
    ),
    f"{BLOCK}.mixer.mix_up": Stored(
        (f"{LAYER}.attn.x_proj.2.weight",), lambda stored, layer: _reordered(stored.T.unflatten(0, (len(MIXED), -1)))
    ),
    **{f"{BLOCK}.mixer.{name}_proj.weight": f"{LAYER}.attn.{name}_proj.linear.weight" for name in "rkvg"},
    f"{BLOCK}.mixer.o_proj.weight": f"{LAYER}.attn.o_proj.weight",
    **_low_rank(f"{BLOCK}.mixer.w_lora", f"{LAYER}.attn.w_proj.linear.lora"),
    f"{BLOCK}.mixer.bonus": f"{LAYER}.attn.bonus",
    **_norm(f"{BLOCK}.mixer.norm", f"{LAYER}.attn.g_norm"),
    f"{BLOCK}.mlp.mix.k": f"{LAYER}.ffn.key.mu",
    f"{BLOCK}.mlp.mix.r": f"{LAYER}.ffn.receptance.mu",
    f"{BLOCK}.mlp.key.weight": f"{LAYER}.ffn.key.linear.weight",
    f"{BLOCK}.mlp.receptance.weight": f"{LAYER}.ffn.receptance.linear.weight",
}
"""RWKV-6 in the layout of flash-linear-attention."""

RWKV6_WORLD: KeyMap = {
    "embed.weight": "rwkv.embeddings.weight",
    **_norm("embed.norm", "rwkv.blocks.0.pre_ln"),
    **_norm("norm", "rwkv.ln_out"),
    "unembed.weight": "head.weight",
    **_norm(f"{BLOCK}.norm1", f"{WORLD}.ln1"),
    **_norm(f"{BLOCK}.norm2", f"{WORLD}.ln2"),
    **{f"{BLOCK}.mixer.mix.{name}": _flat(f"{WORLD}.attention.time_maa_{name}") for name in ("x", *MIXED)},
    f"{BLOCK}.mixer.mix_down.weight": _turned(f"{WORLD}.attention.time_maa_w1"),
    f"{BLOCK}.mixer.mix_up": f"{WORLD}.attention.time_maa_w2",
    f"{BLOCK}.mixer.r_proj.weight": f"{WORLD}.attention.receptance.weight",
    f"{BLOCK}.mixer.k_proj.weight": f"{WORLD}.attention.key.weight",
    f"{BLOCK}.mixer.v_proj.weight": f"{WORLD}.attention.value.weight",
    f"{BLOCK}.mixer.g_proj.weight": f"{WORLD}.attention.gate.weight",
    f"{BLOCK}.mixer.o_proj.weight": f"{WORLD}.attention.output.weight",
    f"{BLOCK}.mixer.w_lora.down.weight": _turned(f"{WORLD}.attention.time_decay_w1"),
    f"{BLOCK}.mixer.w_lora.up.weight": _turned(f"{WORLD}.attention.time_decay_w2"),
    f"{BLOCK}.mixer.w_lora.up.bias": _flat(f"{WORLD}.attention.time_decay"),
    f"{BLOCK}.mixer.bonus": f"{WORLD}.attention.time_faaaa",
    **_norm(f"{BLOCK}.mixer.norm", f"{WORLD}.attention.ln_x"),
    f"{BLOCK}.mlp.mix.k": _flat(f"{WORLD}.feed_forward.time_maa_k"),
    f"{BLOCK}.mlp.mix.r": _flat(f"{WORLD}.feed_forward.time_maa_r"),
    **_same(f"{BLOCK}.mlp", f"{WORLD}.feed_forward", "key.weight", "receptance.weight", "value.weight"),
}
"""RWKV-6 World for transformers."""
