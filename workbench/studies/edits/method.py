"""Methods: what an edited place holds instead. A method sees one tensor; where it is put is the site's affair."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from workbench.hooks import HookPoint
from workbench.interventions.selection import Change
from workbench.model import HookedModel
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.kinds import Kind, Registry


@runtime_checkable
class Donors(Protocol):
    """Activations of unedited runs that methods put in the place of others.

    The worker holds them and decides when they are computed. All prompts are those of the study, so that the same names
    mean the same values everywhere.
    """

    def mean(self, name: str, source: str, per_position: bool) -> Tensor:
        """Mean at a hook over prompts, ``[1, time or 1, ...]``; of a state over its steps.

        Args:
            source: a split, or a group in it: ``"discover"``, ``"discover/animals"``. Prompts of split ``"all"`` belong
                to every split.
        """

    def deviation(self, name: str, source: str) -> Tensor:
        """Standard deviation at a hook over the prompts and positions of a `source`, ``[1, 1, ...]``."""

    def activation(self, name: str, prompt: Prompt) -> Tensor:
        """What passes at a hook when the model reads a prompt, ``[1, time, ...]``; of a state, after every step.

        The prompt may be a corrupt one (`Prompt.corrupted`), which is none of the study's.
        """

    def partner(self, prompt: Prompt, source: str, seed: int) -> Prompt:
        """Another prompt of a split, as long, drawn by the seed. Raises InputError where there is none."""


@dataclass(frozen=True)
class Surroundings:
    """What an edit is made for.

    Attributes:
        positions: where it acts; None for every position.
        seed: of what is random, different for each prompt; the same for all edits of it, so that they are compared on
            the same draws.
    """

    model: HookedModel
    prompt: Prompt
    donors: Donors
    positions: tuple[int, ...] | None
    seed: int

    @property
    def tokens(self) -> Tensor:
        """``[1, time]``."""
        return torch.tensor([self.prompt.tokens], device=self.model.cfg.device)


class MethodKind(Kind):
    """A way to edit; its fields are its options."""

    random: ClassVar[bool] = False
    """Whether the study's seed changes what it does."""

    reads_corrupt: ClassVar[bool] = False
    """Whether it takes from the corrupt prompts, which are then measured unedited, too."""

    def located(self, base: Path) -> MethodKind:
        """The method with its files found and fingerprinted, so that it means the same wherever it is bound.

        Args:
            base: the folder of the study file.
        """
        return self

    def check(self, point: HookPoint) -> None:
        """Refuse a hook at which the method makes no sense, before anything runs. Raises InputError."""

    def check_prompts(self, prompts: Sequence[Prompt]) -> None:
        """Refuse a study's prompts if they lack what the method needs, before anything runs. Raises InputError."""

    @abstractmethod
    def change(self, name: str, around: Surroundings) -> Change:
        """The function ``(tensor, hook) -> tensor`` of the same shape for a canonical hook name, for one row.

        Raises:
            InputError: the prompt lacks what the method needs, such as a corrupt prompt to patch from.
        """

    def doses(self) -> Sequence[tuple[float, MethodKind]]:
        """Strengths to try one by one, each with the method that has it; empty for a method without strengths."""
        return ()


METHODS: Registry[MethodKind] = Registry("method")
