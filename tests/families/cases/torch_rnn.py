"""A user's own models on `torch.nn.LSTM`, `torch.nn.GRU` and `torch.nn.RNN`: stacks of layers, and residual blocks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.families.case import VOCABULARY, Case


class StackModel(nn.Module):
    """An embedding, one recurrent module with all layers in it, a norm, a head."""

    def __init__(self, recurrence: nn.RNNBase, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, recurrence.input_size)
        self.recurrence = recurrence
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, input_ids: Tensor, **ignored: Any) -> SimpleNamespace:
        x = self.embed(input_ids)
        first = self.recurrence.batch_first
        x = self.recurrence(x if first else x.transpose(0, 1))[0]
        return SimpleNamespace(logits=self.head(self.norm(x if first else x.transpose(0, 1))))


class ResidualBlock(nn.Module):
    """A recurrent layer behind a norm, added to the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.lstm = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed, _ = self.lstm(self.norm(x))
        return x + torch.as_tensor(mixed)


class ResidualModel(nn.Module):
    """A model of such blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 8)
        self.layers = nn.ModuleList(ResidualBlock() for _ in range(2))
        self.head = nn.Linear(8, VOCABULARY)

    def forward(self, input_ids: Tensor, **ignored: Any) -> SimpleNamespace:
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return SimpleNamespace(logits=self.head(x))


def stack(kind: str, **options: Any) -> nn.Module:
    recurrence = getattr(nn, kind)(8, 7, 2, **{"batch_first": True, **options})
    return StackModel(recurrence, options.get("proj_size", 7))


# The modules know no attention mask and these models hand no state on.
PLAIN: dict[str, Any] = {"padding": False, "cache": False, "conditional": True}
CASES = {
    "nn.LSTM": Case(lambda: stack("LSTM"), **PLAIN),
    "nn.LSTM, time first, projected, without biases": Case(
        lambda: stack("LSTM", batch_first=False, proj_size=5, bias=False), **PLAIN
    ),
    "nn.GRU": Case(lambda: stack("GRU"), **PLAIN),
    "nn.RNN": Case(lambda: stack("RNN", nonlinearity="relu"), **PLAIN),
    "nn.LSTM in residual blocks": Case(ResidualModel, **PLAIN),
}
