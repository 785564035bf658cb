"""The small two-matrix maps from which RWKV-6 and RWKV-7 compute decays, rates and gates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def identity(x: Tensor) -> Tensor:
    """No non-linearity between the two matrices."""
    return x


class LowRank(nn.Module):
    """``up(activation(down(x))) + bias`` (Peng et al. 2024, arXiv:2404.05892, equation 14; RWKV-7's loramlp).

    With `initialise` it gives the bias alone at the start, whatever the input.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rank: int,
        activation: Callable[[Tensor], Tensor] = identity,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=bias)
        self.activation = activation

    @torch.no_grad()
    def initialise(self, bias: Float[Tensor, " outputs"] | None = None) -> None:
        """`down` becomes zero and `up` a tenth of an orthogonal matrix, as in the references."""
        nn.init.zeros_(self.down.weight)
        nn.init.orthogonal_(self.up.weight, gain=0.1)
        if bias is not None:
            self.up.bias.copy_(bias)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        out: Tensor = self.up(self.activation(self.down(x)))
        return out
