"""Nemotron-H: blocks that are Mamba-2, attention, an MLP or a mixture of experts, and nothing besides."""

from __future__ import annotations

from torch import nn

from tests.families.case import VOCABULARY, Case, since


def _nemotron_h() -> nn.Module:
    from transformers import NemotronHConfig, NemotronHForCausalLM

    return NemotronHForCausalLM(
        NemotronHConfig(
            vocab_size=VOCABULARY,
            hidden_size=12,
            intermediate_size=16,
            layers_block_type=["mlp", "mamba", "attention", "moe", "mamba"],
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=4,
            mamba_num_heads=6,
            mamba_head_dim=4,
            n_groups=2,
            ssm_state_size=5,
            chunk_size=8 if since("5.15") else 32,  # 5.9 sums over the wrong axis between chunks
            n_routed_experts=4,
            moe_intermediate_size=8,
            moe_shared_expert_intermediate_size=10,
            experts_implementation="eager",  # torch has no grouped product in float64
            time_step_min=1e-9,  # stock clamps time steps from below, and forgets to in one-token decoding
        )
    )


# Time steps begin small: without a larger nudge, hardly anything of a cached state is left to be seen.
CASES = {"nemotron_h": Case(_nemotron_h, nudge=0.4)}
