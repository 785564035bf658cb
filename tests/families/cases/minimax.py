"""MiniMax of transformers: lightning attention with a constant decay, softmax attention, a norm over all heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.families.case import VOCABULARY, Case

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 12,
    "intermediate_size": 6,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 6,
    "num_local_experts": 3,
    "layer_types": ["full_attention", "linear_attention", "linear_attention"],
    "block_size": 4,
    "linear_attn_beta_factor": 0.7,
    "mlp_alpha_factor": 1.3,
    "experts_implementation": "eager",  # torch's grouped products know no float64
}


def made(**options: Any) -> Callable[[], nn.Module]:
    """A small model, with other configuration values where given."""

    def build() -> nn.Module:
        from transformers import MiniMaxConfig, MiniMaxForCausalLM

        return MiniMaxForCausalLM(MiniMaxConfig(**(SIZES | options)))

    return build


# Stock computes its decays in float32 when it is built, and converts them.
CASES = {"minimax": Case(made(), float64=1e-6)}
