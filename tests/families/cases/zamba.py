"""Zamba: several Mamba mixers in one module, and a shared transformer block in front of some of them."""

from __future__ import annotations

from torch import nn

from tests.families.case import VOCABULARY, Case


def _zamba() -> nn.Module:
    from transformers import ZambaConfig, ZambaForCausalLM

    return ZambaForCausalLM(
        ZambaConfig(
            vocab_size=VOCABULARY,
            hidden_size=12,
            intermediate_size=16,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            n_mamba_heads=2,
            mamba_d_state=5,
            mamba_dt_rank=3,
            layers_block_type=["mamba", "hybrid", "mamba", "hybrid"],
            use_mamba_kernels=False,  # without a GPU, versions before 5.15 have to be told
        )
    )


CASES = {"zamba": Case(_zamba, mask_in_decoding=False)}
