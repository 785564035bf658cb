"""What components write and read: a head's output and operands, an MLP's, and the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import InputError, nearest
from workbench.families.base import MixerAdapter
from workbench.hooks import HookFunction, HookPoint
from workbench.interventions.selection import head_axis, time_axis
from workbench.model import HookedModel
from workbench.sites import Site, SiteLike, as_sites

LOGITS = "logits"
# What a mixer makes out of its operands.
MADE = {"hook_pattern", "hook_state", "hook_z", "hook_head_out"}


@dataclass(frozen=True)
class Part:
    """What some heads have of a hook's tensor, or all of it.

    Attributes:
        name: canonical hook name.
        heads: numbers of heads; None for the whole tensor.
        n_heads: how many heads there are; several of them may share one entry of the tensor.
    """

    name: str
    heads: tuple[int, ...] | None = None
    n_heads: int = 1

    def exchange(self, model: HookedModel, values: Tensor, position: int | None = None) -> tuple[str, HookFunction]:
        """A hook that puts recorded values there, at one position or at all of them."""
        axis, time = head_axis(model.points[self.name]), time_axis(model.points[self.name])

        def put(tensor: Tensor, hook: HookPoint) -> Tensor:
            made = values.expand_as(tensor)
            if self.heads is not None and axis is not None:
                own = sorted({head * tensor.shape[axis] // self.n_heads for head in self.heads})
                made = _with(tensor, axis, own, made)
            return made.clone() if position is None else _with(tensor, time, [position], made)

        return self.name, put


def _with(tensor: Tensor, axis: int, entries: list[int], values: Tensor) -> Tensor:
    """The tensor with some entries of an axis taken from `values`, of the same shape."""
    index = torch.tensor(entries, device=tensor.device)
    return tensor.index_copy(axis, index, values.index_select(axis, index))


def sites_one_by_one(sites: SiteLike | Sequence[SiteLike]) -> list[Site]:
    """Sites that are edited one after the other, so that they may overlap: a head, and the mixer it is in.

    Raises:
        InputError: a spelling is wrong.
    """
    several = [sites] if isinstance(sites, Site | str) else list(sites)
    return [one for site in several for one in as_sites(site)]


def written_by(model: HookedModel, site: Site) -> list[Part]:
    """What a site writes to the residual stream. Raises InputError where the model lacks it."""
    names = site.hook_names(model)
    if site.part != "heads":
        return [Part(name) for name in names]
    mixer = model.mixer(site.layer, site.mixer or 0)
    return [Part(name, tuple(range(site.start, site.stop)), mixer.n_heads) for name in names]


@dataclass(frozen=True)
class Receiver:
    """A reader of the residual stream.

    Attributes:
        spelled: as the user wrote it.
        reads: the tensors it reads; none for the logits.
    """

    spelled: str
    reads: tuple[Part, ...] = ()

    @property
    def at_logits(self) -> bool:
        """Whether it is the unembedding."""
        return not self.reads

    @property
    def names(self) -> list[str]:
        """Hooks of what it reads."""
        return [one.name for one in self.reads]

    @classmethod
    def parse(cls, model: HookedModel, spelled: str) -> Receiver:
        """Read ``"logits"``, ``"L5H1"``, ``"L5H1.k"`` or ``"L5.mlp"``.

        Raises:
            InputError: the model has no such head, operand or MLP.
        """
        if spelled == LOGITS:
            return cls(spelled)
        head, dot, operand = spelled.rpartition(".")
        if not dot or operand == "mlp" or operand.startswith("mixer"):
            head, operand = spelled, ""
        site = Site.parse(head)
        site.hook_names(model)  # refuses what the model lacks
        if site.part == "mlp" and not operand:
            name = f"blocks.{site.layer}.mlp.hook_pre"
            if name not in model.points:
                raise InputError(f"What the MLP of layer {site.layer} reads has no hook; it cannot be a receiver.")
            return cls(spelled, (Part(name),))
        if site.part != "heads":
            raise InputError(f"{spelled!r} is no receiver; write logits, L5H1, L5H1.k or L5.mlp.")
        mixer = model.mixer(site.layer, site.mixer or 0)
        there = head_operands(mixer)
        if operand and operand not in there:
            close = ", ".join(nearest(operand, there) or there)
            raise InputError(f"The heads of {mixer.place} read no {operand!r}; they read {close}.")
        wanted = [operand] if operand else there
        heads = tuple(range(site.start, site.stop))
        return cls(spelled, tuple(Part(mixer.points[f"hook_{name}"].name, heads, mixer.n_heads) for name in wanted))


def head_operands(mixer: MixerAdapter) -> list[str]:
    """What the heads of a mixer read, by the names of its hooks: q, k and v; log_decay, write, gate and the like."""
    return [
        local.removeprefix("hook_")
        for local, point in mixer.points.items()
        if local not in MADE and head_axis(point) is not None
    ]
