"""xLSTM of transformers, its weights single or fused, with and without biases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.families.case import VOCABULARY, Case

# The cache rounds the widths of keys and values up to multiples of 64, the layers do not: only such widths can decode.
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_heads": 4,
    "qk_dim_factor": 1.0,
    "v_dim_factor": 2.0,
    "ffn_proj_factor": 1.0,
    "chunk_size": 8,
}


def _xlstm(**options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from transformers import xLSTMConfig, xLSTMForCausalLM
        from transformers.initialization import no_init_weights

        with no_init_weights():  # stock's own initialisation of fused weights fails
            model = xLSTMForCausalLM(xLSTMConfig(**(SIZES | options)))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("norm.weight"):
                    nn.init.ones_(parameter)
                else:
                    nn.init.normal_(parameter, std=0.1)
        return model

    return build


# Stock never shows its layers the mask.
CASES = {
    "xlstm": Case(_xlstm(), padding=False, nudge=0.1),
    "xlstm fused": Case(_xlstm(weight_mode="fused", use_bias=True, gate_soft_cap=4.0), padding=False, nudge=0.1),
}
