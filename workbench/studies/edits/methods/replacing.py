"""Methods that put something else in the place of an activation: zeros, a mean, another run's, a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.interventions.selection import Change
from workbench.studies.edits.aligning import aligned
from workbench.studies.edits.method import METHODS, MethodKind, Surroundings
from workbench.studies.edits.methods.doses import Number, Source, listed, only, refuse_patterns, serving
from workbench.studies.inputs.prompt import Prompt


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

    def check_prompts(self, prompts: Sequence[Prompt]) -> None:
        lengths = sorted({len(prompt.tokens) for prompt in prompts})
        if self.per_position and len(lengths) > 1:
            raise InputError(
                f"A mean per position needs prompts of one length, and these have {lengths[0]} to {lengths[-1]} tokens."
            )

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

    def check_prompts(self, prompts: Sequence[Prompt]) -> None:
        lengths = Counter(len(prompt.tokens) for prompt in serving(prompts, self.source))
        for prompt in prompts:
            count = lengths[len(prompt.tokens)]
            if count < 2 and (count == 0 or self.source == "all" or prompt.split != "confirm"):
                raise InputError(
                    f"A prompt of {len(prompt.tokens)} tokens has no partner of that length to resample from; "
                    "give more prompts, or prompts of one length."
                )

    def change(self, name: str, around: Surroundings) -> Change:
        donors = around.donors
        partner = donors.partner(around.prompt, self.source, around.seed + self.draw)
        return _put(donors.activation(name, partner), around)


@METHODS.register("patch")
class Patch(MethodKind):
    """What the place holds when the model reads the corrupt prompt (Heimersheim and Nanda 2024, arXiv:2404.15255)."""

    reads_corrupt = True

    def check_prompts(self, prompts: Sequence[Prompt]) -> None:
        lacking = sum(prompt.corrupt is None for prompt in prompts)
        if lacking:
            raise InputError(
                f"Patching needs a corrupt prompt of the same length for every prompt, and {lacking} of "
                f"{len(prompts)} have none."
            )

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


def _put(values: Tensor, around: Surroundings) -> Change:
    model = around.model
    return lambda tensor, hook: aligned(values, tensor, hook, model)
