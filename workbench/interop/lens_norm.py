"""TransformerLens' norms, with weights of their own or with weights that were folded into what reads them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LensNorm(nn.Module):
    """``w (x - mean) / sqrt(var + eps) + b``, or without the mean (RMS); `weight` and `bias` may be None: folded."""

    def __init__(self, weight: nn.Parameter | None, bias: nn.Parameter | None, eps: float, centred: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.eps, self.centred = weight, bias, eps, centred

    @classmethod
    def of(cls, source: Any) -> nn.Module:
        """Over the parameters of one of TransformerLens' norms; where it has none, an identity."""
        if isinstance(source, nn.Identity):
            return nn.Identity()
        centred = type(source).__name__.startswith("LayerNorm")
        return cls(getattr(source, "w", None), getattr(source, "b", None), float(source.eps), centred)

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        wide = wide - wide.mean(-1, keepdim=True) if self.centred else wide
        out = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)
        out = out if self.weight is None else out * self.weight
        return out if self.bias is None else out + self.bias
