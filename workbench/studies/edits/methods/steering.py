"""Steering as a method of studies: a direction added, out of a file or made of the study's own prompts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import model_validator
from torch import Tensor

from workbench.errors import InputError, offer
from workbench.hooks import HookPoint
from workbench.interventions.selection import Change
from workbench.interventions.steer import Norm, direction_at, steered
from workbench.interventions.steering_vector import SteeringVector
from workbench.studies.edits.files import content_digest, found
from workbench.studies.edits.method import METHODS, MethodKind, Surroundings
from workbench.studies.edits.methods.doses import Number, Source, listed, only, refuse_patterns, serving
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.kinds import AnyPath


@METHODS.register("steer")
class Steer(MethodKind):
    """``alpha`` times a vector added (Turner et al. 2023, arXiv:2308.10248); several alphas are doses.

    The vector comes from a file, or is the mean of one group of prompts less the mean of another (Rimsky et al. 2024,
    arXiv:2312.06681): ``toward: polite, away: rude``.
    """

    file: AnyPath | None = None
    """A saved steering vector (`SteeringVector.save`), relative to the study file."""
    digest: str | None = None
    """Of the file's content; another content is then refused."""
    toward: str | None = None
    away: str | None = None
    source: Source = "discover"
    """Prompts that the means are taken over."""
    alpha: Number | list[Number] = 1.0
    norm: Norm = "raw"
    """As in `Steer`: ``raw``, ``unit``, or ``matched`` to the activation's."""

    @model_validator(mode="after")
    def _one_direction(self) -> Steer:
        groups = (self.toward is not None) + (self.away is not None)
        if groups == 1 or (self.file is None) == (groups == 0):
            raise ValueError("a direction is a file, or two groups of prompts: toward and away")
        return self

    def located(self, base: Path) -> MethodKind:
        if self.file is None:
            return self
        place, digest = found(base, self.file, self.digest)
        SteeringVector.load(place)
        return self.model_copy(update={"file": place, "digest": digest})

    def doses(self) -> Sequence[tuple[float, MethodKind]]:
        return [(alpha, self.model_copy(update={"alpha": alpha})) for alpha in listed(self.alpha)]

    def check(self, point: HookPoint) -> None:
        refuse_patterns(point, "steer")
        if self.file is not None:
            direction_at(_vector(self.file, self.digest), point.name)

    def check_prompts(self, prompts: Sequence[Prompt]) -> None:
        groups = {prompt.group for prompt in serving(prompts, self.source)}
        for group in (self.toward, self.away):
            if group is not None and group not in groups:
                raise InputError(
                    f"No prompt of {self.source!r} belongs to the group {group!r}; {offer(group, sorted(groups))}."
                )

    def change(self, name: str, around: Surroundings) -> Change:
        alpha, vector = only(self.alpha), self._direction(name, around)

        def add(tensor: Tensor, hook: HookPoint) -> Tensor:
            return steered(tensor, hook, vector, alpha, self.norm)

        return add

    def _direction(self, name: str, around: Surroundings) -> Tensor:
        if self.file is not None:
            return direction_at(_vector(self.file, self.digest), name)
        toward, away = (
            around.donors.mean(name, f"{self.source}/{group}", False)[0, 0] for group in (self.toward, self.away)
        )
        return toward - away


@lru_cache(maxsize=16)
def _vector(file: Path, digest: str | None) -> SteeringVector:
    """A steering vector, read once. Raises InputError where the file is not the one that was planned with."""
    vector = SteeringVector.load(file)
    if digest is not None and content_digest(file) != digest:
        raise InputError(f"{file} is not the file that the study was planned with; run it with --replan.")
    return vector
