"""LFM2 of transformers, with and without biases, and with experts: gated short convolutions and one attention layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.families.case import VOCABULARY, Case

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 12,
    "intermediate_size": 14,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "layer_types": ["conv", "conv", "full_attention"],
    "pad_token_id": None,
}


def made(**options: Any) -> Callable[[], nn.Module]:
    """A small model, with other configuration values where given."""

    def build() -> nn.Module:
        from transformers import Lfm2Config, Lfm2ForCausalLM

        return Lfm2ForCausalLM(Lfm2Config(**(SIZES | {"block_multiple_of": 4, "conv_L_cache": 4} | options)))

    return build


def _lfm2_moe() -> nn.Module:
    from transformers import Lfm2MoeConfig, Lfm2MoeForCausalLM

    config = Lfm2MoeConfig(
        **SIZES,
        moe_intermediate_size=6,
        num_dense_layers=1,
        num_experts=3,
        num_experts_per_tok=2,
        experts_implementation="eager",  # torch's grouped products know no float64
    )
    return Lfm2MoeForCausalLM(config)


CASES = {
    "lfm2": Case(made()),
    # Stock writes the product of two biases into the register at each pad.
    "lfm2 with biases": Case(made(conv_bias=True), padding=False),
    "lfm2_moe": Case(_lfm2_moe),
}
