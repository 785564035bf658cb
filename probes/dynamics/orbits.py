"""Where a recurrence ends up under a constant input: a point, a cycle, or neither."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.dynamics.state_map import States, Step


@dataclass(frozen=True)
class Orbit:
    """The end of one trajectory.

    Attributes:
        kind: ``"point"``, ``"cycle"``, ``"open"`` (no period up to the longest that was tried) or ``"unbounded"``.
        period: steps after which the state comes back; None where it does not.
        transient: steps from the start until the state is within the tolerance of where it will be a period later, and
            stays so; None without a period.
        states: the last states of the trajectory: one period, or all that were compared.
    """

    kind: str
    period: int | None
    transient: int | None
    states: Float[Tensor, "steps dim"]


@torch.no_grad()
def find_orbits(
    step: Step, starts: States, *, steps: int = 1000, longest: int = 64, tolerance: float = 1e-6
) -> list[Orbit]:
    """Follow the map from each state and find the shortest period of its end.

    Args:
        step: the map under a constant input.
        starts: first states, one a row.
        steps: how long to follow; a slow approach needs more.
        longest: the longest period that is tried.
        tolerance: largest difference of a coordinate between a state and the one a period later.

    Raises:
        InputError: a number below 1, or fewer steps than three of the longest periods.
    """
    if longest < 1 or steps < 3 * longest or tolerance <= 0:
        raise InputError(
            f"longest >= 1, steps >= 3 * longest and tolerance > 0 are needed; got {longest}, {steps} and {tolerance}."
        )
    along = [starts]
    for _ in range(steps):
        along.append(step(along[-1]))
    whole = torch.stack(along, dim=1)
    return [_orbit(states, longest, tolerance) for states in whole]


def orbit_table(orbits: list[Orbit]) -> pd.DataFrame:
    """One row a start: ``kind``, ``period``, ``transient`` (steps), ``extent`` (largest range of a coordinate)."""
    return pd.DataFrame(
        [
            {
                "kind": orbit.kind,
                "period": orbit.period,
                "transient": orbit.transient,
                "extent": float((orbit.states.max(0).values - orbit.states.min(0).values).max()),
            }
            for orbit in orbits
        ]
    )


def _orbit(states: Float[Tensor, "time dim"], longest: int, tolerance: float) -> Orbit:
    tail = 2 * longest
    if not bool(states.isfinite().all()):
        return Orbit("unbounded", None, None, states[-tail:])
    for period in range(1, longest + 1):
        apart = (states[period:] - states[:-period]).abs().amax(1)
        if bool((apart[-longest:] <= tolerance).all()):
            outside = (apart > tolerance).nonzero()
            transient = int(outside[-1]) + 1 if len(outside) else 0
            return Orbit("point" if period == 1 else "cycle", period, transient, states[-period:])
    return Orbit("open", None, None, states[-tail:])
