"""Statistics that take time linear in the length: row energies and mean distances, at one length and at twice that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks import operands
from benchmarks.race import Contestant, Device, Race
from benchmarks.records import Target

LENGTH = 131_072
CHECKED = 16
"""Heads whose rows are compared with float64: rows of every head would take longer than what is measured."""


def races() -> tuple[Race, ...]:
    """Mamba-1 and Gated DeltaNet."""
    return mamba(LENGTH), gated_delta(LENGTH)


def mamba(time: int, channels: int = 384, state: int = 16, device: Device = "cpu") -> Race:
    """A quarter of a layer of mamba-130m's shapes, so that both lengths fit into 24 GB: each channel costs the same."""
    return _race(
        "lengths-mamba",
        f"Mamba-1 ({channels} channels, state {state})",
        time,
        lambda length: operands.selective_scan(length, channels, state),
        device,
    )


def gated_delta(time: int, heads: int = 4, width: int = 128, device: Device = "cpu") -> Race:
    """A quarter of a layer of sixteen heads, for the same reason."""
    return _race(
        "lengths-gated-delta",
        f"Gated DeltaNet ({heads} heads, K = V = {width})",
        time,
        lambda length: operands.gated_delta(length, heads, width),
        device,
    )


def _race(name: str, label: str, time: int, make: Callable[[int], Any], device: Device) -> Race:
    once, twice = f"T = {time}", f"T = {2 * time}"
    return Race(
        name=name if device == "cpu" else f"gpu-{name}",
        title=f"Row energies and mean distances, {label}",
        shapes=f"batch 1, T = {time} and twice that; {label}",
        contestants=tuple(
            Contestant(
                side,
                "`kernels.energy_distance(form) / kernels.row_energy(form)`, every row of every head",
                partial(_distances, length, make, device),
                partial(_some, length),
                oracle=partial(_in_float64, length, make),
            )
            for side, length in ((once, time), (twice, 2 * time))
        ),
        least=3,
        most=9,
        budget=60.0,
        warm_up=1,
        targets=(
            Target(side=twice, quantity="ratio", at_most=2.2),
            Target(side=twice, quantity="memory_ratio", at_most=2.2),
        ),
        error_against=(
            f"entries of the same rows, in float64 and by their closed form, three rows of the first {CHECKED} heads"
        ),
        notes="Memory holds what is returned. There is no peer: every tool we know builds the matrix.",
        memory=True,
        threads=2,
        device=device,
    )


def _distances(time: int, make: Callable[[int], Any], device: Device) -> Callable[[], Any]:
    from workbench import kernels

    form = make(time).to(device).form()
    return lambda: kernels.energy_distance(form) / kernels.row_energy(form)


def _queries(time: int) -> Any:
    import torch

    return torch.tensor([min(255, time - 1), time // 2, time - 1])


def _some(time: int, distances: Any) -> Any:
    return distances[:, _queries(time).to(distances.device), :CHECKED]


def _in_float64(time: int, make: Callable[[int], Any]) -> Any:
    import torch

    from workbench import kernels

    form = make(time).form()
    form = replace(form, q=form.q.double())  # One operand in float64 makes all of the computation so.
    heads = range(min(CHECKED, form.heads))
    means = []
    for query in _queries(time).tolist():
        energies = kernels.rows(form, torch.tensor([query]), heads)[:, :, 0].square()
        back = query - torch.arange(time)
        means.append((energies * back).sum(-1) / energies.sum(-1))
    return torch.stack(means, dim=1)
