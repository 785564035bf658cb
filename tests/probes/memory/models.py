"""Small models whose memory is known."""

import torch

from workbench.model import HookedModel
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel


def tiny(mixer: str, layers: int = 2, **options: int) -> HookedModel:
    """An untrained zoo model in float64 with the given mixer; 40 tokens, width 32."""
    torch.manual_seed(0)
    config = ZooConfig(mixer=mixer, vocab_size=40, d_model=32, n_layers=layers, d_mlp=32, mixer_options=options)
    return HookedModel(ZooModel(config).double())
