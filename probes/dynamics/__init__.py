"""Dynamics of recurrent networks: fixed points, Jacobian spectra, Lyapunov exponents, orbits, silenced units.

The analyses take a step, any function from states ``[batch, dim]`` to states, and states in float64. `StateMap` makes
one of a layer of a model:

    recurrence = StateMap(model, layer=0)
    step = recurrence.under_token(5)
    visited = recurrence.trajectory(tokens)
    find_fixed_points(step, visited.flatten(0, 1)[::20]).table()
"""

from workbench.probes.dynamics.clusters import ClusterAgreement, cluster_states, compare_partitions
from workbench.probes.dynamics.fixed_points import FixedPoints, find_fixed_points, stability
from workbench.probes.dynamics.lyapunov import LyapunovExponents, lyapunov_exponents
from workbench.probes.dynamics.orbits import Orbit, find_orbits, orbit_table
from workbench.probes.dynamics.spectra import eigenvalues, frequency, state_jacobian, time_constant
from workbench.probes.dynamics.state_map import StateMap, States, Step
from workbench.probes.dynamics.trajectories import Trajectories, principal_trajectories, trajectory_figure
from workbench.probes.dynamics.units import silence_units

__all__ = [
    "ClusterAgreement",
    "FixedPoints",
    "LyapunovExponents",
    "Orbit",
    "StateMap",
    "States",
    "Step",
    "Trajectories",
    "cluster_states",
    "compare_partitions",
    "eigenvalues",
    "find_fixed_points",
    "find_orbits",
    "frequency",
    "lyapunov_exponents",
    "orbit_table",
    "principal_trajectories",
    "silence_units",
    "stability",
    "state_jacobian",
    "time_constant",
    "trajectory_figure",
]
