"""RecurrentGemma of transformers: recurrent blocks between layers of local attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.families.case import VOCABULARY, Case

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_attention_heads": 3,  # heads of four: older versions turn half of a head, which has to be even
    "num_key_value_heads": 1,
    "lru_width": 18,
    "attention_window_size": 7,
    "conv1d_width": 3,
}


def _recurrent_gemma(**options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from transformers import RecurrentGemmaConfig, RecurrentGemmaForCausalLM

        return RecurrentGemmaForCausalLM(
            RecurrentGemmaConfig(num_hidden_layers=2, block_types=("attention", "recurrent"), **(SIZES | options))
        )

    return build


CASES = {
    # Stock's recurrent blocks ignore the mask: pads reach the first tokens through the convolution.
    "recurrent_gemma": Case(_recurrent_gemma(), padding=False),
}
