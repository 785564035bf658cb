"""The coordinates of a vector as features, without the matrices that would only pick them out."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.saes.autoencoder import SparseAutoencoder


class Coordinates(SparseAutoencoder):
    """The `k` coordinates farthest from their mean; a feature is one sign of one coordinate, first all that are above.

    Args:
        like: at whose place.
        mean: of the vectors, which stands in for every other coordinate.
        k: features a vector.
    """

    def __init__(self, like: SparseAutoencoder, mean: Float[Tensor, " d_in"], k: int) -> None:
        # The class's own weights would be identities: of a state of 16,384 numbers, two of 2 GB.
        nn.Module.__init__(self)
        self.cfg = replace(
            like.cfg,
            architecture="topk",
            d_sae=2 * len(mean),
            k=min(k, 2 * len(mean)),
            apply_b_dec_to_input=False,
            rescale_acts_by_decoder_norm=False,
            normalize_activations="none",
            details={},
        )
        self.b_dec = nn.Parameter(mean.to(like.W_enc), requires_grad=False)
        self.basis = like.basis

    @property
    def dtype(self) -> torch.dtype:
        """Of the mean."""
        return self.b_dec.dtype

    def preactivations(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """By how much each coordinate is above its mean, and by how much below."""
        above = x.to(self.dtype) - self.b_dec
        return torch.cat([above, -above], dim=-1)

    def decode(
        self, features: Float[Tensor, "*batch d_sae"], x: Float[Tensor, "*batch d_in"] | None = None
    ) -> Float[Tensor, "*batch d_in"]:
        """The mean, with the kept coordinates at their own values."""
        above, below = features.chunk(2, dim=-1)
        return self.b_dec + above - below

    def directions(self) -> Float[Tensor, "d_sae d_in"]:
        """The coordinates, and the coordinates the other way."""
        whole = torch.eye(self.cfg.d_in, dtype=self.dtype, device=self.b_dec.device)
        return torch.cat([whole, -whole])
