"""Adapters: one file a family, each of which turns a mixer's weights and activations into a canonical form.

Importing this package registers every family that comes with the workbench.
"""

from workbench.families import (
    falcon_h1,
    gated_attention,
    gated_delta,
    kda,
    lfm2,
    lightning,
    mamba,
    mamba2,
    native,
    recurrent_gemma,
    rwkv,
    softmax,
    torch_rnn,
    xlstm,
    zamba,
)
from workbench.families.base import BlockLayout, MixerAdapter, Site, adapt, families, register, unregister

__all__ = [
    "BlockLayout",
    "MixerAdapter",
    "Site",
    "adapt",
    "falcon_h1",
    "families",
    "gated_attention",
    "gated_delta",
    "kda",
    "lfm2",
    "lightning",
    "mamba",
    "mamba2",
    "native",
    "recurrent_gemma",
    "register",
    "rwkv",
    "softmax",
    "torch_rnn",
    "unregister",
    "xlstm",
    "zamba",
]
