"""A norm as the linear map that it is once its scale is held fixed, whatever its class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

LARGE = 64.0  # of the probe: an epsilon below its square is of no account, in half precision nothing overflows


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises: by its class's name, as every architecture of the field spells it."""
    return "norm" in type(module).__name__.lower() and not any(module.children())


@dataclass(frozen=True)
class LinearNorm:
    """``y = weight (x - mean) / scale + bias``, or without the mean: LayerNorm, RMSNorm, Gemma's ``1 + weight``.

    Attributes:
        weight: factor on each channel.
        bias: what is made of zeros.
        centred: whether the mean over the channels is subtracted.
    """

    weight: Float[Tensor, " size"]
    bias: Float[Tensor, " size"]
    centred: bool

    @classmethod
    def of(cls, module: nn.Module, like: Tensor) -> LinearNorm:
        """What a norm does to vectors of `like`'s size, dtype and device.

        Nothing is known of the class: the bias is what it makes of zeros, the weight what it makes of a vector whose
        mean is zero, and whether it subtracts the mean shows on a constant one. Its hooks are not called.
        """
        size, wide = like.shape[-1], torch.promote_types(like.dtype, torch.float32)
        plain = type(module).forward

        def on(vector: Tensor) -> Tensor:
            made: Tensor = plain(module, vector.to(like.dtype))
            return made.to(wide)

        ones = torch.ones(size, dtype=wide, device=like.device)
        probe = ones.clone()
        probe[1::2] = -1
        if size % 2:  # of an odd number of channels the last three make up the mean
            probe[-3:] = torch.tensor([1.0, 1.0, -2.0]) if size > 1 else 1.0
        bias = on(torch.zeros_like(ones))
        weight = (on(probe * LARGE) - bias) / probe * probe.square().mean().sqrt()
        constant = on(ones * LARGE) - bias
        return cls(weight, bias, bool(constant.abs().max() <= 1e-3 * weight.abs().max()))

    def moved(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """``x`` in at least float32, without its mean where the norm subtracts it."""
        wide = x.to(self.weight.dtype)
        return wide - wide.mean(-1, keepdim=True) if self.centred else wide

    def inverse_scale(
        self, x: Float[Tensor, "*batch size"], y: Float[Tensor, "*batch size"]
    ) -> Float[Tensor, "*batch 1"]:
        """``1 / scale`` of the call that made `y` of `x`; 0 where `x` says nothing about it."""
        straight = self.moved(x) * self.weight
        factor = ((y.to(straight.dtype) - self.bias) * straight).sum(-1, keepdim=True)
        return (factor / straight.square().sum(-1, keepdim=True)).nan_to_num()

    def apply(
        self, x: Float[Tensor, "*batch size"], inverse_scale: Float[Tensor, "*#batch 1"]
    ) -> Float[Tensor, "*batch size"]:
        """The linear part alone, without the bias: ``weight (x - mean) / scale``."""
        return self.moved(x) * (self.weight * inverse_scale)
