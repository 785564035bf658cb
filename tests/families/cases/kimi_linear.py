"""Kimi-Linear of transformers: the delta rule with a decay a key channel, and latent attention without positions."""

from __future__ import annotations

from torch import nn

from tests.families.case import VOCABULARY, Case


def _kimi_linear() -> nn.Module:
    from transformers import KimiLinearConfig, KimiLinearForCausalLM

    config = KimiLinearConfig(
        vocab_size=VOCABULARY,
        hidden_size=12,
        intermediate_size=14,
        moe_intermediate_size=6,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        kv_lora_rank=7,
        qk_rope_head_dim=4,
        qk_nope_head_dim=6,
        v_head_dim=5,
        experts_implementation="eager",  # torch's grouped products know no float64
        num_local_experts=3,
        num_experts_per_tok=2,
        linear_head_dim=5,
        linear_num_heads=3,
        linear_conv_kernel_dim=3,
        layer_types=["linear_attention", "linear_attention", "full_attention"],
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    return KimiLinearForCausalLM(config)


CASES = {"kimi_linear": Case(_kimi_linear)}
