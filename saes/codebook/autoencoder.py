"""A codebook as an autoencoder whose features are on or off, so that whatever judges one judges the other."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.saes.autoencoder import SaeConfig, SparseAutoencoder
from workbench.saes.codebook.codebook import Codebook


class CodebookAutoencoder(SparseAutoencoder):
    """The features of a vector are its codes: 1 for each of the `k` that it has, 0 for the others.

    What it decodes is ``C(x)`` of `Codebook`. It is made for judging and reading, and not to be saved: an autoencoder's
    file has no kind of feature that is only on or off.

    Args:
        codebook: whose codes these are, and where it belongs.
    """

    def __init__(self, codebook: Codebook) -> None:
        codes = codebook.codes.detach()
        cfg = SaeConfig(
            "topk",
            codebook.d_in,
            len(codes),
            k=codebook.k,
            hook=codebook.hook,
            head=codebook.head,
            every=codebook.every,
            model_name=codebook.model_name,
        )
        weights = {
            "W_enc": torch.nn.functional.normalize(codes, dim=-1).T.contiguous(),
            "W_dec": codes.clone(),
            "b_enc": torch.zeros(len(codes)).to(codes),
            "b_dec": torch.zeros(codebook.d_in).to(codes),
        }
        super().__init__(cfg, weights)

    def activate(self, pre: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        """1 for the codes of the largest cosine similarity, whatever its sign; a vector's length does not matter."""
        assert self.cfg.k is not None  # given above
        return torch.zeros_like(pre).scatter(-1, pre.topk(self.cfg.k, dim=-1).indices, 1.0)
