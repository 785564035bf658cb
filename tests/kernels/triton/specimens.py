"""Forms of the size that models have, and what their kernels take of an SM when they are compiled for one."""

from __future__ import annotations

import json
from dataclasses import replace

import torch

from tests.kernels.triton.ahead_of_time import compiled, launches_of
from workbench.kernels import Delta, DiagonalDecay, ScalarDecay
from workbench.kernels.forms import Reader
from workbench.kernels.streaming.result import planned
from workbench.kernels.triton import operations, statistics, streaming
from workbench.kernels.triton.layout import LARGEST_ERASING_KEY

TIME, HEADS = 300, 4


def specimen(name: str, key: int) -> Reader:
    """A form with keys and values of one width; Mamba-1's layout has a key of 16 and one value."""
    rows, gate = torch.zeros(1, TIME, HEADS, key), torch.zeros(1, TIME, HEADS)
    if name == "scalar":
        return ScalarDecay(rows, rows, rows, gate, write=gate)
    if name == "diagonal":
        return DiagonalDecay(rows, rows, rows, rows, write=gate)
    if name == "mamba":
        shared, rate = torch.zeros(1, TIME, 1, 16), torch.zeros(HEADS, 16)
        return DiagonalDecay(shared, shared, gate[..., None], gate[..., None], rate, write=gate)
    return Delta(rows, rows, rows, gate[..., None] if name == "gated delta" else rows, write=gate)


def launch_outputs(form: Reader) -> None:
    """Outputs alone, with the longest chunks."""
    with torch.no_grad():
        operations.forward(form)


def launch_everything(form: Reader) -> None:
    """Outputs, gradients, energies with their distances where there is a kernel for them, a walk."""
    launch_outputs(form)
    given = {name: getattr(form, name).clone().requires_grad_() for name in ("q", "k", "v", "log_decay", "write")}
    outputs, final = operations.forward(replace(form, **given))
    (outputs.sum() + final.sum()).backward()
    streaming.reduced(form, planned(("entropy", "top", "column_mass"), 8, None, 0.01, TIME))
    if not isinstance(form, Delta) or form.k.shape[-1] <= LARGEST_ERASING_KEY:
        statistics.row_energy(form)
        statistics.energy_distance(form)


def main(name: str, key: int, capability: int, everything: bool) -> None:
    """Print the largest registers, shared memory and spills of each kernel, over its launches, as JSON."""
    found: dict[str, dict[str, int]] = {}
    seen = set()
    launch = launch_everything if everything else launch_outputs
    for made in launches_of(lambda: launch(specimen(name, key))):
        kinds = [(argument, x if isinstance(x, int | str) else x is None) for argument, x in made.arguments.items()]
        if (made.name, *kinds) in seen:
            continue
        seen.add((made.name, *kinds))
        taken = vars(compiled(made, capability))
        most = found.setdefault(made.name, taken)
        found[made.name] = {what: max(most[what], taken[what]) for what in taken}
    print(json.dumps(found))
