"""Qwen3.5 of transformers, dense and with experts: Gated DeltaNet and an attention layer with an output gate."""

from __future__ import annotations

from torch import nn

from tests.families.case import VOCABULARY, Case
from tests.families.cases.qwen3_next import EXPERTS, SIZES

ROTARY = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}


def _qwen3_5() -> nn.Module:
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    return Qwen3_5ForCausalLM(Qwen3_5TextConfig(vocab_size=VOCABULARY, num_hidden_layers=3, **SIZES, **ROTARY))


def _qwen3_5_moe() -> nn.Module:
    from transformers import Qwen3_5MoeForCausalLM, Qwen3_5MoeTextConfig

    config = Qwen3_5MoeTextConfig(vocab_size=VOCABULARY, num_hidden_layers=3, **SIZES, **EXPERTS, **ROTARY)
    return Qwen3_5MoeForCausalLM(config)


CASES = {"qwen3_5": Case(_qwen3_5), "qwen3_5_moe": Case(_qwen3_5_moe)}
