"""Qwen3-Next of transformers: Gated DeltaNet with grouped keys, and an attention layer with an output gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.families.case import VOCABULARY, Case

SIZES: dict[str, Any] = {
    "hidden_size": 12,
    "intermediate_size": 14,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 3,
    "linear_value_head_dim": 5,
    "linear_conv_kernel_dim": 3,
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
}
EXPERTS: dict[str, Any] = {
    "experts_implementation": "eager",  # torch's grouped products know no float64
    "num_experts": 3,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 6,
    "shared_expert_intermediate_size": 7,
}


def made(**options: Any) -> Callable[[], nn.Module]:
    """A small model, with other configuration values where given."""

    def build() -> nn.Module:
        from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

        return Qwen3NextForCausalLM(
            Qwen3NextConfig(vocab_size=VOCABULARY, num_hidden_layers=3, **(SIZES | EXPERTS | options))
        )

    return build


CASES = {
    "qwen3_next": Case(made()),
    "qwen3_next without experts": Case(made(mlp_only_layers=[0, 1, 2], linear_num_key_heads=4)),
}
