"""Zamba2: two shared transformer blocks with adapters of their own in each layer, in front of Mamba-2."""

from __future__ import annotations

from torch import nn

from tests.families.case import VOCABULARY, Case, since


def _zamba2() -> nn.Module:
    from transformers import Zamba2Config, Zamba2ForCausalLM

    return Zamba2ForCausalLM(
        Zamba2Config(
            vocab_size=VOCABULARY,
            hidden_size=12,
            intermediate_size=16,
            num_hidden_layers=4,
            num_attention_heads=4,
            n_mamba_heads=6,
            mamba_ngroups=2,
            mamba_d_state=5,
            chunk_size=8 if since("5.15") else 32,  # 5.9 sums over the wrong axis between chunks
            # Before 5.23, layers have to be such that counting them all and counting the hybrid ones agree modulo two.
            layers_block_type=["hybrid", "hybrid", "hybrid", "mamba"],
            num_mem_blocks=2,
            use_shared_attention_adapter=True,
            adapter_rank=3,
            use_mem_rope=True,
            time_step_min=1e-9,  # stock clamps time steps from below, and forgets to in one-token decoding
        )
    )


CASES = {"zamba2": Case(_zamba2)}
