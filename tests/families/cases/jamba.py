"""Jamba: Mamba with inner norms beside attention, with dense and mixture-of-experts MLPs."""

from __future__ import annotations

from torch import nn

from tests.families.case import VOCABULARY, Case


def _jamba() -> nn.Module:
    from transformers import JambaConfig, JambaForCausalLM

    return JambaForCausalLM(
        JambaConfig(
            vocab_size=VOCABULARY,
            hidden_size=12,
            intermediate_size=16,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_experts=4,
            attn_layer_period=3,
            attn_layer_offset=2,
            mamba_d_state=5,
            mamba_dt_rank=3,
            experts_implementation="eager",  # torch has no grouped product in float64
        )
    )


CASES = {"jamba": Case(_jamba, mask_in_decoding=False)}
