"""SAELens' training classes made to predict one hook from another (Dunefsky et al. 2024, arXiv:2406.11944).

SAELens has transcoders to use and none to train. A batch holds what is read and what is to be predicted side by side,
so that its trainer need not know; the losses are those of the autoencoder, with the other hook in the input's place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from workbench.saes.training.front import Front


class Transcodes(Front):
    """Goes in front of a training class whose config also has `d_out` and `skip`."""

    W_skip: nn.Parameter
    _source: Tensor

    def initialize_weights(self) -> None:
        """Decoder rows and encoder columns of the same norm in random directions; a skip of 0."""
        super().initialize_weights()
        cfg: Any = self.cfg
        norm = 0.1 if cfg.decoder_init_norm is None else cfg.decoder_init_norm
        where: dict[str, Any] = {"dtype": self.dtype, "device": self.device}
        decoder = torch.randn(cfg.d_sae, cfg.d_out, **where)
        encoder = torch.randn(cfg.d_in, cfg.d_sae, **where)
        self.W_dec = nn.Parameter(norm * decoder / decoder.norm(dim=-1, keepdim=True))
        self.W_enc = nn.Parameter(norm * encoder / encoder.norm(dim=0))
        self.b_dec = nn.Parameter(torch.zeros(cfg.d_out, **where))
        if cfg.skip:
            self.W_skip = nn.Parameter(torch.zeros(cfg.d_out, cfg.d_in, **where))

    def training_forward_pass(self, step_input: Any) -> Any:
        """SAELens' losses of a batch ``[batch, d_in + d_out]``."""
        cfg: Any = self.cfg
        self._source, target = step_input.sae_in.to(self.dtype).split([cfg.d_in, cfg.d_out], dim=-1)
        return super().training_forward_pass(replace(step_input, sae_in=target))

    def process_sae_in(self, sae_in: Tensor) -> Tensor:
        """What is read, whatever else is given; the decoder's bias is of another space."""
        return self._source

    def encode_with_hidden_pre(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features of what is read."""
        return super().encode_with_hidden_pre(self._source)

    def decode(self, feature_acts: Tensor) -> Tensor:
        """The prediction."""
        cfg: Any = self.cfg
        out = super().decode(feature_acts)
        return out + self._source @ self.W_skip.T if cfg.skip else out
