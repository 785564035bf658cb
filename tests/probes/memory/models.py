"""Small models whose memory is known."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from workbench.model import HookedModel
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel


def tiny(mixer: str, layers: int = 2, **options: int) -> HookedModel:
    """An untrained zoo model in float64 with the given mixer; 40 tokens, width 32."""
    torch.manual_seed(0)
    config = ZooConfig(mixer=mixer, vocab_size=40, d_model=32, n_layers=layers, d_mlp=32, mixer_options=options)
    return HookedModel(ZooModel(config).double())


class RectifiedRNN(nn.Module):
    """An embedding, `torch.nn.RNN` with rectified units, a head; linear wherever its units are positive."""

    def __init__(self, transition: Tensor, inputs: Tensor, embedding: Tensor) -> None:
        super().__init__()
        units, width = inputs.shape
        self.embed = nn.Embedding(*embedding.shape)
        self.rnn = nn.RNN(width, units, nonlinearity="relu", bias=False, batch_first=True)
        self.head = nn.Linear(units, len(embedding), bias=False)
        self.double()
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(transition)
            self.rnn.weight_ih_l0.copy_(inputs)
            self.embed.weight.copy_(embedding)

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(self.rnn(self.embed(input_ids))[0]))


def linear_rnn(transition: Tensor, inputs: Tensor, embedding: Tensor) -> HookedModel:
    """``h' = A h + B x`` in float64: positive matrices and embeddings keep the units where they are linear."""
    assert min(part.min() for part in (transition, inputs, embedding)) >= 0
    return HookedModel(RectifiedRNN(transition, inputs, embedding))
