"""Other tools' names for our hook points, in one table.

A tensor has one canonical name; the spellings of TransformerLens and of the tools for recurrent models lead to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Tail of the other tool's name -> tail of the canonical name, within one block.
TRANSFORMER_LENS = {
    "attn.hook_in": "mixer.hook_in",
    "attn.hook_q": "mixer.hook_q",
    "attn.hook_k": "mixer.hook_k",
    "attn.hook_rot_q": "mixer.hook_q",
    "attn.hook_rot_k": "mixer.hook_k",
    "attn.hook_v": "mixer.hook_v",
    "attn.hook_pattern": "mixer.hook_pattern",
    "attn.hook_z": "mixer.hook_z",
    "attn.hook_out": "mixer.hook_out",
    "hook_attn_out": "mixer.hook_out",
    "hook_mixer_out": "mixer.hook_out",
    "mlp.hook_out": "hook_mlp_out",
    "hook_in": "hook_resid_pre",
    "hook_out": "hook_resid_post",
}
# What a family with nothing between its core and its output projection calls the same tensor.
HEAD_OUTPUT = {"mixer.hook_head_out": "mixer.hook_z"}
# MambaLens' names, and TransformerLens' for the state-space models.
RECURRENT = {
    "hook_normalized_input": "mixer.hook_in",
    "hook_ssm_input": "mixer.hook_v",
    "hook_B": "mixer.hook_k",
    "hook_C": "mixer.hook_q",
    "hook_delta": "mixer.hook_write",
    "hook_h": "mixer.hook_state",
    "hook_ssm_state": "mixer.hook_state",
    "mixer.hook_ssm_state": "mixer.hook_state",
    "mixer.hook_h": "mixer.hook_state",
    "hook_after_skip": "mixer.hook_head_out",
    "hook_out_proj": "mixer.hook_out",
}
OUTSIDE_BLOCKS = {"ln_final.hook_out": "ln_final.hook_normalized", "unembed.hook_out": "hook_logits"}


def expand(
    names: Iterable[str], recurrent_layers: Iterable[int], attention_beside: Mapping[int, str] | None = None
) -> dict[str, str]:
    """Every alias that fits a model with these canonical hook names, and the name it stands for.

    Args:
        recurrent_layers: layers whose first mixer is recurrent.
        attention_beside: for a layer with attention besides its first mixer, where that attention's hooks are
            (``"mixer1"``): what other tools call ``attn`` is then meant there.
    """
    known = set(names)
    recurrent = set(recurrent_layers)
    beside = attention_beside or {}
    found = {alias: name for alias, name in OUTSIDE_BLOCKS.items() if name in known}
    layers = {int(name.split(".")[1]) for name in known if name.startswith("blocks.")}
    for layer in sorted(layers):
        tables = [TRANSFORMER_LENS, HEAD_OUTPUT, *([RECURRENT] if layer in recurrent else [])]
        if layer in beside:
            tables.insert(0, _of_attention(beside[layer]))
        for table in tables:
            for alias, tail in table.items():
                name = f"blocks.{layer}.{tail}"
                if name in known:
                    found.setdefault(f"blocks.{layer}.{alias}", name)
    return found


def _of_attention(part: str) -> dict[str, str]:
    """The aliases of an attention module that is not its block's first mixer."""
    named = {alias: tail for alias, tail in TRANSFORMER_LENS.items() if "attn" in alias}
    moved = {alias: tail.replace("mixer.", f"{part}.", 1) for alias, tail in named.items()}
    return {**moved, f"{part}.hook_head_out": f"{part}.hook_z"}
