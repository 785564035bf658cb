"""Bamba: Mamba-2 with groups beside attention with partial rotary embeddings."""

from __future__ import annotations

from torch import nn

from tests.families.case import VOCABULARY, Case


def _bamba() -> nn.Module:
    from transformers import BambaConfig, BambaForCausalLM

    return BambaForCausalLM(
        BambaConfig(
            vocab_size=VOCABULARY,
            hidden_size=12,
            intermediate_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            attn_layer_indices=[2],
            mamba_n_heads=6,
            mamba_n_groups=2,
            mamba_d_state=5,
            mamba_chunk_size=8,
        )
    )


CASES = {"bamba": Case(_bamba)}
