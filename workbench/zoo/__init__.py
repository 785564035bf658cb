"""Small language models that differ in their mixer alone, trained by ``workbench.zoo.recipe`` and shipped here."""

from workbench.zoo import (
    attention,
    deltanet,
    gated_delta,
    gla,
    gru,
    hgrn2,
    kda,
    lstm,
    mamba,
    mamba2,
    mlstm,
    registry,
    retnet,
    rg_lru,
    rwkv4,
    rwkv6,
    rwkv7,
)  # the mixers register themselves when imported
from workbench.zoo.cache import LayerCache, ZooCache
from workbench.zoo.config import ZooConfig
from workbench.zoo.loading import available, directory, load
from workbench.zoo.model import Block, ZooModel, ZooOutput

__all__ = [
    "Block",
    "LayerCache",
    "ZooCache",
    "ZooConfig",
    "ZooModel",
    "ZooOutput",
    "attention",
    "available",
    "deltanet",
    "directory",
    "gated_delta",
    "gla",
    "gru",
    "hgrn2",
    "kda",
    "load",
    "lstm",
    "mamba",
    "mamba2",
    "mlstm",
    "registry",
    "retnet",
    "rg_lru",
    "rwkv4",
    "rwkv6",
    "rwkv7",
]
