"""Falcon-H1: Mamba-2 and attention side by side, every multiplier at work, with each of the three norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.families.case import VOCABULARY, Case


def _falcon_h1(**options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from transformers import FalconH1Config, FalconH1ForCausalLM

        return FalconH1ForCausalLM(
            FalconH1Config(
                vocab_size=VOCABULARY,
                hidden_size=12,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=3,
                num_key_value_heads=1,
                mamba_d_ssm=24,
                mamba_n_heads=6,
                mamba_n_groups=2,
                mamba_d_state=5,
                mamba_chunk_size=8,
                ssm_multipliers=[0.5, 0.7, 1.1, 0.9, 1.3],
                ssm_in_multiplier=1.2,
                ssm_out_multiplier=0.8,
                attention_in_multiplier=0.9,
                attention_out_multiplier=1.1,
                key_multiplier=0.6,
                mlp_multipliers=[0.9, 0.7],
                embedding_multiplier=2.0,
                lm_head_multiplier=0.5,
                **options,
            )
        )

    return build


CASES = {
    "falcon_h1": Case(_falcon_h1()),
    "falcon_h1 with a norm": Case(_falcon_h1(mamba_rms_norm=True, mamba_norm_before_gate=False)),
    "falcon_h1 with a norm before the gate": Case(_falcon_h1(mamba_rms_norm=True)),
}
