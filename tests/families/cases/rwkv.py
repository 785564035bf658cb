"""RWKV-4 of transformers; with layers that are rescaled in evaluation, and a time mixing wider than the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.families.case import VOCABULARY, Case


def _rwkv(**options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from transformers import RwkvConfig, RwkvForCausalLM

        # Where a state is handed through, stock overwrites what its own gradient needs: only without one has it any.
        sizes = {"hidden_size": 12, "num_hidden_layers": 3, "context_length": 64, "use_cache": False}
        return RwkvForCausalLM(RwkvConfig(vocab_size=VOCABULARY, **(sizes | options)))

    return build


# Stock ignores the mask. It cannot go on by one token in a batch of two: the shifted input of one token has no axis of
# time, so `[batch, 1, model] + [1, batch, model]` becomes a square. tests/families/test_rwkv.py has what remains.
CASES = {
    "rwkv": Case(_rwkv(), padding=False, cache=False),
    "rwkv, first layer": Case(_rwkv(), layer=0, padding=False, cache=False),
    "rwkv, rescaled": Case(_rwkv(rescale_every=1), layer=2, padding=False, cache=False),
    "rwkv, wide": Case(_rwkv(attention_hidden_size=20), padding=False, cache=False),
}
