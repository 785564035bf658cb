"""Sites: what of a model a study edits. A kind of site lists its targets in a model and makes hooks of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.hooks import HookFunction
from workbench.model import HookedModel
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.kinds import Kind, Registry

if TYPE_CHECKING:
    from workbench.studies.edits.method import MethodKind, Surroundings


@dataclass(frozen=True)
class Target:
    """The smallest thing a kind of site can edit: a head, a neuron, a feature, an edge.

    Attributes:
        label: as people write it: ``L0H1``, ``L3.mlp``, ``L2.mlp#17``.
        at: a site or canonical hook name, as `workbench.interventions.selection.selections` takes it; for kinds with
            hooks of their own, whatever those understand.
        layer: the lowest layer it touches, 0 where it lies before all layers.
        heads, units: numbers along the axis of heads and along the last axis; None for all.
        size: how many components it is (a group of 8 channels is 8).
        more: what a kind of its own needs besides, as JSON: source and destination of an edge.
    """

    label: str
    at: str
    layer: int
    heads: tuple[int, ...] | None = None
    units: tuple[int, ...] | None = None
    size: int = 1
    more: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class BoundEdit:
    """An edit of one prompt, ready to run.

    Attributes:
        hooks: hooks for a batch of exactly one row, the prompt; the engine restricts them to the row where several
            edits run as one batch.
        whole: a context for the whole run, where an edit cannot be restricted to rows; such edits run one by one.
    """

    hooks: list[tuple[str, HookFunction]]
    whole: AbstractContextManager[Any] | None = None


class SiteKind(Kind):
    """A kind of site; its fields say which of them are meant."""

    @abstractmethod
    def targets(self, model: HookedModel) -> list[Target]:
        """Every target that is meant, in the order of the forward pass.

        Raises:
            InputError: nothing matches, or the model has no such thing; the message says what it has.
        """

    def pool(self, model: HookedModel) -> list[Target]:
        """What random controls are drawn from: the targets, or their parts where a target is a set of several."""
        return self.targets(model)

    def binder(self) -> SiteKind:
        """A kind that binds these targets as this one does, without what only chooses them: edits are told by it.

        A study that asks for fewer layers then finds the results of the others again.
        """
        return self

    def located(self, base: Path) -> SiteKind:
        """The kind with its files found and fingerprinted, so that it means the same wherever it is bound.

        Args:
            base: the folder of the study file.
        """
        return self

    def check(self, model: HookedModel, targets: Sequence[Target], method: MethodKind) -> None:
        """Refuse a method that makes no sense at these targets, before anything runs. Raises InputError."""

    def check_prompts(self, prompts: Sequence[Prompt]) -> None:
        """Refuse a study's prompts if they lack what the sites need, before anything runs. Raises InputError."""

    @abstractmethod
    def bind(self, targets: Sequence[Target], method: MethodKind, around: Surroundings) -> BoundEdit:
        """Edit all the targets at once with a method, in the run of one prompt."""


SITES: Registry[SiteKind] = Registry("kind of site", of_list=("listed", "sites"))
