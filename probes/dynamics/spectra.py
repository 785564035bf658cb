"""Jacobians of a step and what their eigenvalues say."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.dynamics.state_map import Step

LARGEST = 4096  # numbers in a state whose Jacobian is built: 128 MiB in float64


def state_jacobian(step: Step, state: Float[Tensor, " dim"]) -> Float[Tensor, "dim dim"]:
    """``dF_i / dh_j`` at a state, from one batched backward pass: as many copies of the state as it has numbers.

    Raises:
        InputError: the state has more than 4096 numbers.
    """
    dim = len(state)
    if dim > LARGEST:
        raise InputError(f"The Jacobian of a state of {dim} numbers is not built; at most {LARGEST} are taken.")
    with torch.enable_grad():
        copies = state.detach().expand(dim, dim).clone().requires_grad_()
        after = step(copies)
        rows = torch.eye(dim, dtype=after.dtype, device=after.device)
        (jacobian,) = torch.autograd.grad(after, copies, rows)
    found: Tensor = jacobian
    return found


def eigenvalues(jacobian: Float[Tensor, "dim dim"]) -> Complex[Tensor, " dim"]:
    """Eigenvalues, the largest magnitude first, in double precision."""
    values = torch.linalg.eigvals(jacobian.double())
    ordered: Tensor = values[values.abs().argsort(descending=True)]
    return ordered


def time_constant(eigenvalue: complex) -> float:
    """``-1 / ln |eigenvalue|``: steps in which a deviation shrinks by e; infinite at 1, below 0 where it grows."""
    size = abs(eigenvalue)
    if size == 0:
        return 0.0
    return math.inf if size == 1 else -1 / math.log(size)


def frequency(eigenvalue: complex) -> float:
    """Turns a step of a rotating deviation, 0 to 1/2; 1/2 is an alternation."""
    return abs(math.atan2(eigenvalue.imag, eigenvalue.real)) / (2 * math.pi)
