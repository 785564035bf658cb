"""Kimi-Linear of transformers: the delta rule with a decay a key channel, and latent attention without positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.families.case import VOCABULARY, Case

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 12,
    "intermediate_size": 14,
    "moe_intermediate_size": 6,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "kv_lora_rank": 7,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 6,
    "v_head_dim": 5,
    "num_local_experts": 3,
    "num_experts_per_tok": 2,
    "experts_implementation": "eager",  # torch's grouped products know no float64
    "linear_head_dim": 5,
    "linear_num_heads": 3,
    "linear_conv_kernel_dim": 3,
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}


def made(**options: Any) -> Callable[[], nn.Module]:
    """A small model, with other configuration values where given."""

    def build() -> nn.Module:
        from transformers import KimiLinearConfig, KimiLinearForCausalLM

        return KimiLinearForCausalLM(KimiLinearConfig(**(SIZES | options)))

    return build


CASES = {"kimi_linear": Case(made())}
