"""Fixed points and slow points of a recurrence: where its state stays, or nearly stays, under a constant input.

Sussillo and Barak 2013, "Opening the Black Box: Low-Dimensional Dynamics in High-Dimensional Recurrent Neural
Networks", Neural Computation 25: minimise the speed ``q(h) = |F(h) - h|^2 / 2`` from visited states; a minimum at 0 is
a fixed point, a small one above 0 a slow point; the Jacobian there says what happens nearby.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.dynamics.spectra import LARGEST, eigenvalues, frequency, state_jacobian, time_constant
from workbench.probes.dynamics.state_map import States, Step
from workbench.progress import tracked

NEUTRAL = 1e-6  # how far a magnitude may be from 1 and still count as 1


@dataclass(frozen=True)
class FixedPoints:
    """What a search found, the slowest point first.

    Attributes:
        points: one row each.
        speeds: ``q`` at each.
        spectra: eigenvalues of the Jacobian at each, the largest magnitude first.
        starts: how many of the searches ended there.
        tolerance: the speed below which a point counts as fixed.
        lost: searches that ended nowhere slow.
    """

    points: Float[Tensor, "found dim"]
    speeds: Float[Tensor, " found"]
    spectra: Complex[Tensor, "found dim"]
    starts: Int[Tensor, " found"]
    tolerance: float
    lost: int

    def table(self) -> pd.DataFrame:
        """One row a point.

        ``kind`` (``"fixed"`` or ``"slow"``), ``speed``, ``stability`` (``"attractor"``, ``"saddle"``, ``"repeller"``,
        ``"marginal"`` with a largest magnitude of 1), ``radius`` (largest magnitude), ``unstable`` (directions that
        grow), ``time_constant`` and ``frequency`` of the leading direction (steps, turns a step), ``starts``.
        """
        rows = []
        for speed, spectrum, starts in zip(self.speeds, self.spectra, self.starts, strict=True):
            leading = complex(spectrum[0])
            rows.append(
                {
                    "kind": "fixed" if float(speed) <= self.tolerance else "slow",
                    "speed": float(speed),
                    "stability": stability(spectrum),
                    "radius": abs(leading),
                    "unstable": int((spectrum.abs() > 1 + NEUTRAL).sum()),
                    "time_constant": time_constant(leading),
                    "frequency": frequency(leading),
                    "starts": int(starts),
                }
            )
        columns = ["kind", "speed", "stability", "radius", "unstable", "time_constant", "frequency", "starts"]
        return pd.DataFrame(rows, columns=columns)


def stability(spectrum: Complex[Tensor, " dim"]) -> str:
    """``"attractor"``: all deviations shrink; ``"repeller"``: none; ``"saddle"``: some grow; else ``"marginal"``."""
    sizes = spectrum.abs()
    if bool((sizes < 1 - NEUTRAL).all()):
        return "attractor"
    if not bool((sizes > 1 + NEUTRAL).any()):
        return "marginal"
    return "repeller" if bool((sizes > 1 + NEUTRAL).all()) else "saddle"


def find_fixed_points(
    step: Step,
    starts: States,
    *,
    iterations: int = 500,
    learning_rate: float = 0.01,
    newton: int = 20,
    tolerance: float = 1e-16,
    slow: float = 1e-4,
    distinct: float = 1e-3,
    progress: bool = False,
) -> FixedPoints:
    """Search from many states at once: Adam on the speed, then damped Newton steps on ``F(h) - h = 0``.

    Args:
        step: the map, such as ``StateMap(model, 0).under_token(5)``; in float64.
        starts: where the searches begin; visited states, and some noise around them, find what the network uses.
        iterations: Adam steps, with a rate that falls to nothing.
        learning_rate: of Adam, in units of the state.
        newton: at most so many Newton steps a point.
        tolerance: the speed ``|F(h) - h|^2 / 2`` at or below which a point is fixed.
        slow: the speed above which what was found is nothing.
        distinct: points are the same where their largest difference is below this.
        progress: show a progress bar.

    Raises:
        InputError: states that are not float64, too large or not finite, or an option out of range.
    """
    _check(starts, iterations, newton, tolerance, slow)
    points = _descend(step, starts, iterations, learning_rate, progress)
    # Searches that have met already need one Newton search between them.
    groups = _distinct(points, _speeds(step, points), distinct)
    polished = torch.stack([_newton(step, points[members[0]], newton, tolerance) for members in groups])
    counts = torch.tensor([len(members) for members in groups])
    speeds = _speeds(step, polished)
    kept = (speeds <= slow).nonzero()[:, 0]
    lost = int(counts.sum() - counts[kept].sum())
    polished, speeds, counts = polished[kept], speeds[kept], counts[kept]
    merged = _distinct(polished, speeds, distinct)
    first = torch.tensor([members[0] for members in merged], dtype=torch.long)
    reached = torch.tensor([int(counts[members].sum()) for members in merged], dtype=torch.long)
    found = polished[first]
    spectra = [eigenvalues(state_jacobian(step, point)).cpu() for point in found]
    empty = torch.zeros(0, starts.shape[1], dtype=torch.complex128)
    return FixedPoints(
        found.cpu(), speeds[first].cpu(), torch.stack(spectra) if spectra else empty, reached, tolerance, lost
    )


def _check(starts: States, iterations: int, newton: int, tolerance: float, slow: float) -> None:
    if starts.dtype != torch.float64:
        raise InputError(
            f"Fixed points are searched in float64, and these states are {str(starts.dtype).removeprefix('torch.')}; "
            "load the model with dtype='float64'."
        )
    if not len(starts) or starts.shape[1] > LARGEST or not bool(starts.isfinite().all()):
        raise InputError(f"A search takes at least one finite state of at most {LARGEST} numbers.")
    if iterations < 0 or newton < 0 or not 0 < tolerance <= slow:
        raise InputError(
            "iterations and newton are at least 0, and 0 < tolerance <= slow; "
            f"got {iterations}, {newton}, {tolerance} and {slow}."
        )


@torch.no_grad()
def _speeds(step: Step, points: States) -> Float[Tensor, " batch"]:
    if not len(points):
        return points.new_zeros(0)
    speeds: Tensor = (step(points) - points).square().sum(1) / 2
    return speeds


def _descend(step: Step, starts: States, iterations: int, learning_rate: float, progress: bool) -> States:
    points = starts.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([points], lr=learning_rate)
    best, fastest = starts.detach().clone(), _speeds(step, starts)
    with torch.enable_grad():
        for iteration in tracked(range(iterations), progress, "searching for fixed points"):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * (1 - iteration / iterations)
            optimiser.zero_grad()
            speeds = (step(points) - points).square().sum(1) / 2
            better = speeds.detach() < fastest
            best[better], fastest[better] = points.detach()[better], speeds.detach()[better]
            # The logarithm keeps every search moving, however slow its point has become.
            (speeds + torch.finfo(torch.float64).tiny).log().sum().backward()
            optimiser.step()
    return best


def _newton(step: Step, point: Float[Tensor, " dim"], iterations: int, tolerance: float) -> Float[Tensor, " dim"]:
    """Newton steps, each halved until the speed falls; stops where none makes it fall."""
    speed = float(_speeds(step, point[None])[0])
    identity = torch.eye(len(point), dtype=point.dtype, device=point.device)
    for _ in range(iterations):
        if speed <= tolerance * 1e-6:
            break
        with torch.no_grad():
            missing = point - step(point[None])[0]
        # The Jacobian less the identity is singular where a gate keeps its channel. The default driver's rank is then
        # wrong now and then, with what lay in memory before (pytorch#92537); CUDA has none for such a matrix.
        slope = (state_jacobian(step, point) - identity).cpu()
        solved = torch.linalg.lstsq(slope, missing[:, None].cpu(), driver="gelsd")
        direction = solved.solution[:, 0].to(point.device)
        if not bool(direction.isfinite().all()):
            break
        # Twelve halvings end at 1/4096 of a step.
        tried = torch.stack([point + direction / 2**halving for halving in range(12)])
        speeds = _speeds(step, tried)
        lower = (speeds < speed).nonzero()
        if not len(lower):
            break
        at = int(lower[0])
        point, speed = tried[at], float(speeds[at])
    return point


def _distinct(points: States, speeds: Float[Tensor, " batch"], distance: float) -> list[list[int]]:
    """Groups of points that are the same, the slowest first, in order of the slowest."""
    groups: list[list[int]] = []
    for index in speeds.argsort().tolist():
        for members in groups:
            if float((points[index] - points[members[0]]).abs().max()) < distance:
                members.append(index)
                break
        else:
            groups.append([index])
    return groups
