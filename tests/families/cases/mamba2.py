"""Mamba-2 of transformers, with groups and with limits on its time step; the zoo's Mamba-2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.families.case import VOCABULARY, Case, zoo

SIZES = {"hidden_size": 12, "expand": 2, "num_heads": 6, "head_dim": 4, "state_size": 5, "n_groups": 2}


def _mamba2(**options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from transformers import Mamba2Config, Mamba2ForCausalLM

        return Mamba2ForCausalLM(
            Mamba2Config(vocab_size=VOCABULARY, num_hidden_layers=2, chunk_size=8, **(SIZES | options))
        )

    return build


CASES = {
    "mamba2": Case(_mamba2()),
    # Stock forgets the limits in one-token decoding.
    "mamba2 with limited steps": Case(_mamba2(time_step_limit=(0.02, 0.05)), cache=False),
    "zoo mamba2": Case(zoo("mamba2", head_dim=4, state_size=5)),
}
