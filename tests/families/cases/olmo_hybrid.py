"""OLMo-Hybrid of transformers: Gated DeltaNet whose writing strength may reach 2, and attention without positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.families.case import VOCABULARY, Case

SIZES: dict[str, Any] = {
    "hidden_size": 12,
    "intermediate_size": 14,
    "num_attention_heads": 3,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 3,
    "linear_value_head_dim": 5,
    "linear_conv_kernel_dim": 3,
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    "pad_token_id": None,
    "eos_token_id": None,
}


def made(**options: Any) -> Callable[[], nn.Module]:
    """A small model, with other configuration values where given."""

    def build() -> nn.Module:
        from transformers import OlmoHybridConfig, OlmoHybridForCausalLM

        return OlmoHybridForCausalLM(OlmoHybridConfig(vocab_size=VOCABULARY, num_hidden_layers=3, **(SIZES | options)))

    return build


CASES = {
    "olmo_hybrid": Case(made()),
    "olmo_hybrid with positive eigenvalues": Case(made(linear_allow_neg_eigval=False)),
}
