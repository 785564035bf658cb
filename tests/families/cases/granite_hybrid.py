"""Granite 4's hybrid: Mamba-2 and attention, multiplied residuals, experts beside a shared MLP or the MLP alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.families.case import VOCABULARY, Case


def _granite(**options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from transformers import GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM

        return GraniteMoeHybridForCausalLM(
            GraniteMoeHybridConfig(
                vocab_size=VOCABULARY,
                hidden_size=12,
                intermediate_size=16,
                shared_intermediate_size=14,
                num_hidden_layers=3,
                num_attention_heads=2,
                num_key_value_heads=1,
                mamba_n_heads=6,
                mamba_n_groups=2,
                mamba_d_state=5,
                mamba_chunk_size=8,
                layer_types=["attention", "mamba", "mamba"],  # as published checkpoints spell them, and older versions
                residual_multiplier=0.7,
                embedding_multiplier=3.0,
                attention_multiplier=0.4,
                logits_scaling=2.0,
                experts_implementation="eager",  # torch has no grouped product in float64
                **options,
            )
        )

    return build


CASES = {
    "granite_hybrid": Case(_granite(num_local_experts=4)),
    "granite_hybrid without experts": Case(_granite(num_local_experts=0, position_embedding_type="rope")),
}
