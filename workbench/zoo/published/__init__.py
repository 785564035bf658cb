"""Checkpoints of families that transformers does not have: their configurations and key maps, on native models.

A family is a function from a config.json to a `Decoder` and a `KeyMap`, registered under its ``model_type``.
"""

from workbench.zoo.published import fla, rwkv
from workbench.zoo.published.configuration import Configuration
from workbench.zoo.published.hub import download
from workbench.zoo.published.keys import KeyMap, Stored, read_weights
from workbench.zoo.published.registry import is_published, load, model_types, register

__all__ = [
    "Configuration",
    "KeyMap",
    "Stored",
    "download",
    "fla",
    "is_published",
    "load",
    "model_types",
    "read_weights",
    "register",
    "rwkv",
]
