"""Numerics of the canonical forms: references, fused kernels and what can be read from them."""

from workbench.kernels.backends import Backend, use_backend
from workbench.kernels.dispatch import (
    apply_pattern,
    column_sum,
    columns,
    dense,
    energy_distance,
    forward,
    iterate,
    mass_distance,
    pairs,
    pattern,
    row_energy,
    row_sum,
    rows,
    states,
    step,
)
from workbench.kernels.forms import Delta, DiagonalDecay, Form, RecurrentForm, ScalarDecay, Softmax, Toeplitz
from workbench.kernels.streaming import Reduction, Streamed, stream

__all__ = [
    "Backend",
    "Delta",
    "DiagonalDecay",
    "Form",
    "RecurrentForm",
    "Reduction",
    "ScalarDecay",
    "Softmax",
    "Streamed",
    "Toeplitz",
    "apply_pattern",
    "column_sum",
    "columns",
    "dense",
    "energy_distance",
    "forward",
    "iterate",
    "mass_distance",
    "pairs",
    "pattern",
    "row_energy",
    "row_sum",
    "rows",
    "states",
    "step",
    "stream",
    "use_backend",
]
