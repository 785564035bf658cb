"""What an attribution is: numbers that add up to the logit, and how far they are from doing so."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Attribution:
    """The parts of one number a row, ``value = tokens + positions + mlps + biases`` summed over everything.

    With every gate, attention pattern and norm scale held at its recorded value the model is linear in its embeddings;
    each part is what one source puts into the logit along all paths of mixers and skips.

    Attributes:
        tokens: contribution of each token's embedding.
        positions: contribution of each learned position embedding; zeros where there is none.
        mlps: contribution of what each layer's MLP wrote at each position, held fixed as a source of its own; zeros for
            blocks without one.
        biases: contribution of all biases (projections, norms, convolutions) together.
        value: the number that is explained.
        input: the token ids.
        position: the position whose logits were explained.
    """

    tokens: Float[Tensor, "batch time"]
    positions: Float[Tensor, "batch time"]
    mlps: Float[Tensor, "batch layers time"]
    biases: Float[Tensor, " batch"]
    value: Float[Tensor, " batch"]
    input: Int[Tensor, "batch time"]
    position: int

    @property
    def remainder(self) -> Float[Tensor, " batch"]:
        """What is no token's embedding: position embeddings, MLPs and biases."""
        return self.positions.sum(-1) + self.mlps.sum((-2, -1)) + self.biases

    def check(self) -> float:
        """How far the parts are from adding up to the number, relative to the largest sum of their sizes.

        The parts come from gradients, the number from the forward pass: a part of the model that is neither linear nor
        held fixed shows up here. Expect 1e-5 in float32, 1e-10 in float64.
        """
        total = self.tokens.sum(-1) + self.remainder
        size = self.tokens.abs().sum(-1) + self.positions.abs().sum(-1) + self.mlps.abs().sum((-2, -1))
        size = (size + self.biases.abs()).clamp(min=self.value.abs().max().item())
        return float(((total - self.value).abs() / size.clamp(min=1e-30)).max())
