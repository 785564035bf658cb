"""A module that is an affine map, as the matrix that it multiplies with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.direct_logits.calls import same_up_to_rounding

AT_ONCE = 2**24  # numbers of the identity that are pushed through a module at once: 64 MiB in float32


@dataclass(frozen=True)
class AffineMap:
    """``y = x W + b``, read off the module when it is asked for, so that an edited weight counts.

    Attributes:
        call: the map itself.
        n_in: numbers it reads.
        like: what it was seen to read, for the dtype and the device.
        owner: the module with the parameters ``weight`` and ``bias``, where they are the map.
        laid_out: how its weight lies: ``[in, out]``, ``[out, in]``, or neither of the two.
    """

    call: Callable[[Tensor], Tensor]
    n_in: int
    like: Tensor
    owner: nn.Module | None = None
    laid_out: Literal["in_out", "out_in", "unknown"] = "unknown"

    @classmethod
    def of(cls, module: nn.Module, read: Tensor, written: Tensor) -> AffineMap:
        """The map of a module that was seen to make `written` of `read`: torch's Linear, GPT-2's Conv1D, any other."""
        weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
        n_in, n_out = read.shape[-1], written.shape[-1]
        if weight is None or weight.dim() < 2:
            return cls(module, n_in, read)
        flat = weight.flatten(0, -2)
        constant = 0.0 if bias is None else bias
        for layout, matrix in (("out_in", flat.T), ("in_out", flat)):
            if matrix.shape == (n_in, n_out) and same_up_to_rounding(
                read.to(matrix.dtype) @ matrix + constant, written
            ):
                return cls(module, n_in, read, module, "out_in" if layout == "out_in" else "in_out")
        return cls(module, n_in, read)

    @property
    @torch.no_grad()
    def weight(self) -> Float[Tensor, "in out"]:
        """``W``: a view of the module's own parameter where that is one."""
        if self.owner is not None and self.laid_out != "unknown":
            flat = self.owner.get_parameter("weight").detach().flatten(0, -2)
            return flat.T if self.laid_out == "out_in" else flat
        eye, bias = torch.eye(self.n_in, dtype=self.like.dtype, device=self.like.device), self.bias
        step = max(1, AT_ONCE // self.n_in)
        return torch.cat([self._on(eye[i : i + step]) - bias for i in range(0, self.n_in, step)])

    @property
    @torch.no_grad()
    def bias(self) -> Float[Tensor, " out"]:
        """``b``, what is made of zeros."""
        zeros = self.like.new_zeros(1, self.n_in)
        if self.owner is not None and self.laid_out != "unknown":
            own = self.owner._parameters.get("bias")
            return zeros.new_zeros(self.weight.shape[1]) if own is None else own.detach()
        return self._on(zeros)[0]

    def _on(self, rows: Float[Tensor, "rows in"]) -> Float[Tensor, "rows out"]:
        made: Tensor = self.call(rows[None])
        return made[0]
