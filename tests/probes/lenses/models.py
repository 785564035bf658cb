"""Small models whose lenses are known, and random ones of several kinds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from workbench.model import HookedModel
from workbench.zoo.attention import Attention
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

VOCABULARY, WIDTH = 11, 8


class AffineBlock(nn.Module):
    """Adds ``x A + b`` to the stream: a drift that a lens can take back exactly. Its mixer writes nothing."""

    def __init__(self) -> None:
        super().__init__()
        config = ZooConfig("attention", vocab_size=VOCABULARY, d_model=WIDTH, n_layers=1, d_mlp=8)
        self.mixer = Attention(config, 0)
        self.drift = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mixer(x)
        return x + mixed + self.drift(x)


class AffineModel(nn.Module):
    """An embedding, blocks that are affine, an unembedding with a bias, and a scale on the logits."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(AffineBlock() for _ in range(layers))
        self.unembed = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, input_ids: Tensor, **ignored: Any) -> SimpleNamespace:
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        return SimpleNamespace(logits=1.5 * self.unembed(x))


def affine_model(layers: int = 2) -> HookedModel:
    """An `AffineModel` in float64, its mixers silent."""
    torch.manual_seed(3)
    model = AffineModel(layers).double().eval()
    hooked = HookedModel(model)  # finds the parts by what they write, so they are silenced after it
    with torch.no_grad():
        for block in model.blocks:
            assert isinstance(block, AffineBlock)
            block.mixer.o_proj.weight.zero_()
    return hooked


def random_model(mixer: str = "gla", layers: int = 2, dtype: torch.dtype = torch.float32) -> HookedModel:
    """A zoo model with weights large enough that depths differ."""
    torch.manual_seed(1)
    model = ZooModel(ZooConfig(mixer, vocab_size=40, d_model=16, n_layers=layers, d_mlp=24))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return HookedModel(model.to(dtype).eval())


def rows(model: HookedModel, count: int = 8, length: int = 12, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.cfg.d_vocab, (count, length), generator=generator)
