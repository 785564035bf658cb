"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): momentum, orthogonalised."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor


def orthogonalise(matrices: Float[Tensor, "batch rows columns"], steps: int = 5) -> Float[Tensor, "batch rows columns"]:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrices, with Muon's quintic coefficients.

    Singular values end between about 0.7 and 1.2, which is what the method asks for. Computed in bfloat16.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    nearest: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return nearest


class Muon(torch.optim.Optimizer):
    """Nesterov momentum 0.95, orthogonalised, scaled by ``sqrt(max(1, rows / columns))``; for matrices only."""

    def __init__(self, parameters: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, decay: float = 0.0):
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure
        """One update. Matrices of one shape are orthogonalised together, which is faster than one by one."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for (rows, columns), parameters in shapes.items():
                updates = []
                for parameter in parameters:
                    state = self.state[parameter]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(parameter)
                    state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
                    updates.append(parameter.grad + group["momentum"] * state["momentum"])
                scale = -group["lr"] * max(1.0, rows / columns) ** 0.5
                for parameter, update in zip(parameters, orthogonalise(torch.stack(updates)), strict=True):
                    parameter.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=scale)
