"""The zoo's hybrid of RG-LRU and local attention, as in Griffin."""

from __future__ import annotations

from tests.families.case import VOCABULARY, Case
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel


def hybrid() -> ZooModel:
    """A recurrent layer, then local attention, then a recurrent layer."""
    options = {"rg_lru": {"width": 14, "blocks": 2}, "attention": {"n_heads": 3, "window": 4}}
    return ZooModel(
        ZooConfig(["rg_lru", "attention"], VOCABULARY, d_model=12, n_layers=3, d_mlp=16, mixer_options=options)
    )


CASES = {"zoo rg_lru": Case(hybrid, layer=2)}
