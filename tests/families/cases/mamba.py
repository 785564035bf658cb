"""Mamba and FalconMamba of transformers; the zoo's Mamba."""

from __future__ import annotations

from torch import nn

from tests.families.case import VOCABULARY, Case, zoo

SIZES = {"vocab_size": VOCABULARY, "hidden_size": 12, "state_size": 5, "num_hidden_layers": 2, "time_step_rank": 3}


def _mamba() -> nn.Module:
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(**SIZES))


def _falcon_mamba() -> nn.Module:
    from transformers import FalconMambaConfig, FalconMambaForCausalLM

    return FalconMambaForCausalLM(FalconMambaConfig(**SIZES))


CASES = {
    "mamba": Case(_mamba, mask_in_decoding=False),
    "falcon_mamba": Case(_falcon_mamba, mask_in_decoding=False),
    "zoo mamba": Case(zoo("mamba", state_size=5)),
}
