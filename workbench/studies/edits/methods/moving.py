"""Methods that move an activation from where it is: scaled, added to, or disturbed by noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from workbench.hooks import HookPoint
from workbench.interventions.selection import Change
from workbench.studies.edits.aligning import aligned
from workbench.studies.edits.method import METHODS, MethodKind, Surroundings
from workbench.studies.edits.methods.doses import Number, Source, listed, only, refuse_patterns
from workbench.studies.identity import digest


@METHODS.register("scale")
class Scale(MethodKind):
    """Multiplied by a factor: 1 changes nothing, 0 takes it away, -1 turns it round; several factors are doses."""

    factor: Number | list[Number]

    def doses(self) -> Sequence[tuple[float, MethodKind]]:
        return [(factor, Scale(factor=factor)) for factor in listed(self.factor)]

    def change(self, name: str, around: Surroundings) -> Change:
        factor = only(self.factor)
        return lambda tensor, hook: tensor * factor


@METHODS.register("add")
class Add(MethodKind):
    """A number added to every entry: to a neuron, a gate, a feature; several numbers are doses."""

    value: Number | list[Number]

    def doses(self) -> Sequence[tuple[float, MethodKind]]:
        return [(value, Add(value=value)) for value in listed(self.value)]

    def change(self, name: str, around: Surroundings) -> Change:
        value = only(self.value)
        return lambda tensor, hook: tensor + value


@METHODS.register("noise")
class Noise(MethodKind):
    """Gaussian noise, in standard deviations of every entry over prompts and positions; several sizes are doses.

    Meng et al. 2022 (arXiv:2202.05262, section 2.1) corrupt embeddings with three standard deviations. The same seed
    and prompt give the same noise at a hook whatever is edited there.
    """

    random: ClassVar[bool] = True
    deviations: Annotated[float, Field(gt=0, allow_inf_nan=False)] | list[Number] = 1.0
    source: Source = "discover"
    draw: int = Field(default=0, ge=0)
    """Another number draws other noise."""

    def doses(self) -> Sequence[tuple[float, MethodKind]]:
        return [(size, self.model_copy(update={"deviations": size})) for size in listed(self.deviations)]

    def check(self, point: HookPoint) -> None:
        refuse_patterns(point, "noise")

    def change(self, name: str, around: Surroundings) -> Change:
        size, deviation = only(self.deviations), around.donors.deviation(name, self.source)
        time, model = len(around.prompt.tokens), around.model
        drawn: list[Tensor] = []

        def disturb(tensor: Tensor, hook: HookPoint) -> Tensor:
            if not drawn:
                seed = int(digest([around.seed, self.draw, name])[:15], 16)
                # Drawn on the CPU and for the whole prompt: the same on every device, whatever part is run.
                generator = torch.Generator().manual_seed(seed)
                drawn.append(torch.randn(1, time, *deviation.shape[2:], generator=generator))
            noise = aligned(drawn[0], tensor, hook, model)
            return tensor + size * aligned(deviation, tensor, hook, model) * noise

        return disturb
