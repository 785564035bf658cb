"""Lyapunov exponents: how fast neighbouring states part, in nats a step.

The QR method (Benettin et al. 1980; for recurrent networks Vogt et al. 2022, "On Lyapunov Exponents for RNNs:
Understanding Information Propagation Using Dynamical Systems Tools"): an orthonormal basis is pushed
through the Jacobians along a trajectory, orthonormalised after each step, and the logarithms of the stretches averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.dynamics.spectra import state_jacobian
from workbench.probes.dynamics.state_map import Step
from workbench.progress import tracked


@dataclass(frozen=True)
class LyapunovExponents:
    """Exponents, the largest first.

    Attributes:
        exponents: nats a step; above 0 is chaos, below 0 forgets at that rate; -inf where a direction dies at once.
        errors: standard error of each, over eight stretches of the trajectory.
        steps: over which they were averaged.
    """

    exponents: Float[Tensor, " dim"]
    errors: Float[Tensor, " dim"]
    steps: int

    @property
    def kaplan_yorke(self) -> float:
        """Dimension of the attractor by Kaplan and Yorke's formula: 0 for a point, 1 for a cycle."""
        total = 0.0
        for count, exponent in enumerate(self.exponents.tolist()):
            if total + exponent < 0:
                return count + (total / -exponent if exponent > -float("inf") else 0.0)
            total += exponent
        return float(len(self.exponents))

    def table(self) -> pd.DataFrame:
        """One row an exponent: ``exponent`` (nats a step), ``error``, ``time_constant`` (steps, ``-1 / exponent``)."""
        return pd.DataFrame(
            {
                "exponent": self.exponents.tolist(),
                "error": self.errors.tolist(),
                "time_constant": (-1 / self.exponents).tolist(),
            }
        )


def lyapunov_exponents(
    step: Step | Sequence[Step],
    start: Float[Tensor, " dim"],
    *,
    steps: int = 200,
    settle: int = 50,
    count: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> LyapunovExponents:
    """Exponents along the trajectory from a state.

    Args:
        step: one map for a constant input, or one a step for a text: then as many as ``settle + steps``.
        start: the first state.
        steps: over which the stretches are averaged.
        settle: steps before, in which state and basis find the attractor.
        count: how many exponents, the largest first; all by default.
        seed: of the basis at the start.
        progress: show a progress bar.

    Raises:
        InputError: a number out of range, or too few maps for so many steps.
    """
    dim = len(start)
    count = dim if count is None else count
    if steps < 1 or settle < 0 or not 1 <= count <= dim:
        raise InputError(f"steps >= 1, settle >= 0 and 1 <= count <= {dim} are needed; got {steps}, {settle}, {count}.")
    if not callable(step) and len(step) < settle + steps:
        raise InputError(f"{settle} + {steps} steps need as many maps; there are {len(step)}.")
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(dim, count, generator=generator, dtype=torch.float64))[0].to(start)
    state, stretches = start.detach(), []
    for index in tracked(range(settle + steps), progress, "following neighbouring states"):
        now = step if callable(step) else step[index]
        basis, upper = torch.linalg.qr(state_jacobian(now, state) @ basis)
        with torch.no_grad():
            state = now(state[None])[0]
        if index >= settle:
            stretches.append(upper.diagonal().abs().log().double().cpu())
    logs = torch.stack(stretches)
    parts = torch.stack([part.mean(0) for part in logs.tensor_split(min(8, steps))])
    errors = parts.std(0) / len(parts) ** 0.5 if len(parts) > 1 else torch.full_like(logs[0], float("nan"))
    mean = logs.mean(0)
    order = mean.argsort(descending=True)
    return LyapunovExponents(mean[order], errors[order], steps)
