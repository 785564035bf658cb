"""Methods that put something else in the place of an activation: zeros, a mean, another run's, a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.interventions.selection import Change
from workbench.studies.edits.aligning import aligned
from workbench.studies.edits.method import METHODS, MethodKind, Surroundings

Source: TypeAlias = Literal["discover", "all"]
"""Prompts that replacements are taken from: those to find things with (every prompt, where there is no split), or all
of the study's."""

Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]


@METHODS.register("zero")
class Zero(MethodKind):
    """Zeros: the contribution is gone. At a log decay, 0 is a decay of 1: nothing is forgotten."""

    def change(self, name: str, around: Surroundings) -> Change:
        return lambda tensor, hook: torch.zeros_like(tensor)


@METHODS.register("mean")
class Mean(MethodKind):
    """The mean over prompts and positions, so that a constant offset the model relies on stays."""

    source: Source = "discover"
    per_position: bool = False
    """The mean over prompts at each position; the prompts must be of one length."""

    def check(self, point: HookPoint) -> None:
        refuse_patterns(point, "mean")

    def change(self, name: str, around: Surroundings) -> Change:
        values = around.donors.mean(name, self.source, self.per_position)
        return _put(values, around)


@METHODS.register("resample")
class Resample(MethodKind):
    """What the place holds in another prompt, as long, drawn at random (Chan et al. 2022, "Causal Scrubbing")."""

    random: ClassVar[bool] = True
    source: Source = "discover"
    draw: int = Field(default=0, ge=0)
    """Another number draws other partners."""

    def change(self, name: str, around: Surroundings) -> Change:
        donors = around.donors
        partner = donors.partner(around.prompt, self.source, around.seed + self.draw)
        return _put(donors.activation(name, partner), around)


@METHODS.register("patch")
class Patch(MethodKind):
    """What the place holds when the model reads the corrupt prompt (Heimersheim and Nanda 2024, arXiv:2404.15255)."""

    needs_corrupt: ClassVar[bool] = True

    def change(self, name: str, around: Surroundings) -> Change:
        return _put(around.donors.activation(name, around.prompt.corrupted), around)


@METHODS.register("fix")
class Fix(MethodKind):
    """A value, whatever the model computes: a gate, a decay, a neuron or a feature held there; several are doses."""

    value: Number | list[Number]

    def doses(self) -> Sequence[tuple[float, MethodKind]]:
        return [(value, Fix(value=value)) for value in listed(self.value)]

    def change(self, name: str, around: Surroundings) -> Change:
        value = only(self.value)
        return lambda tensor, hook: torch.full_like(tensor, value)


def listed(dose: float | list[float]) -> list[float]:
    """The doses of a method, each once."""
    return list(dict.fromkeys(float(one) for one in (dose if isinstance(dose, list) else [dose])))


def only(dose: float | list[float]) -> float:
    """The dose of a method that has one. Raises InputError for several: each is an edit of its own (`doses`)."""
    found = listed(dose)
    if len(found) != 1:
        raise InputError(f"An edit has one dose, not {len(found)}.")
    return found[0]


def refuse_patterns(point: HookPoint, method: str) -> None:
    """Raise InputError where positions are rows of different lengths, which have nothing in common to average."""
    if "source" in point.axes and "time" in point.axes:
        raise InputError(f"{point.name} is a row of another length at every position, which {method} cannot average.")


def _put(values: Tensor, around: Surroundings) -> Change:
    model = around.model
    return lambda tensor, hook: aligned(values, tensor, hook, model)
