"""The part of a tensor that an intervention changes: at a hook, some heads, some units, some positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.interventions.positions import When
from workbench.model import HookedModel
from workbench.sites import Site, SiteLike
from workbench.steps import at_steps

Change = Callable[[Tensor, HookPoint], Tensor]

HEAD_AXES = ("head", "group")
TIME_AXES = ("time", "source")


@dataclass(frozen=True)
class Selection:
    """What of one hook's tensor is changed; everything by default.

    Attributes:
        name: canonical hook name.
        heads: numbers along the tensor's head or group axis; None for all.
        units: numbers along its last axis; None for all.
        when: positions, or steps of a recurrent state.
    """

    name: str
    heads: tuple[int, ...] | None = None
    units: tuple[int, ...] | None = None
    when: When = field(default_factory=When)

    def hook(self, model: HookedModel, change: Change, time: int | None = None) -> tuple[str, HookFunction]:
        """The hook that puts ``change(tensor, hook)`` where the selection is and keeps the tensor elsewhere.

        Args:
            change: makes a tensor of the same shape.
            time: length of the prompt, where it is known.

        Raises:
            InputError: the tensor has no such head or unit, or none at all.
        """
        point = model.points[self.name]
        axis = head_axis(point)
        if self.heads is not None and axis is None:
            raise InputError(f"{self.name} has no axis of heads: its axes are {', '.join(point.axes)}.")

        reading = _Reading()

        def edit(tensor: Tensor, hook: HookPoint) -> Tensor | None:
            where = self._where(tensor, hook, reading, model.past, time)
            if where is None:
                return None
            return torch.where(where.to(tensor.device), change(tensor, hook), tensor)

        steps = self.when.steps(time) if point.per_step else None
        return self.name, edit if steps is None else at_steps(edit, steps)

    def _where(
        self, tensor: Tensor, hook: HookPoint, reading: _Reading, past: int, time: int | None
    ) -> Bool[Tensor, ...] | None:
        """True where the tensor is changed, broadcasting against it; None where nothing is."""
        where = torch.ones([1] * tensor.dim(), dtype=torch.bool)
        if hook.step is not None:
            rows = self.when.at_step(len(tensor), hook.step, time)
            if rows is None:
                return None
            where = where & _along(rows, tensor.dim(), 0)
        else:
            axis = time_axis(hook)
            size = tensor.shape[axis]
            # Keys and values are those of all tokens so far, whichever call they came with.
            first = 0 if hook.axes[axis] == "source" else past
            chosen = self.when.mask(len(tensor), size, first, reading.prompt(past, first + size))
            if chosen is None:
                return None
            shape = [1] * tensor.dim()
            shape[0], shape[axis] = chosen.shape
            where = where & chosen.reshape(shape)
        for numbers, along in ((self.heads, head_axis(hook)), (self.units, tensor.dim() - 1)):
            if numbers is not None and along is not None:
                where = where & _along(_chosen(numbers, tensor.shape[along], hook), tensor.dim(), along)
        return where


class _Reading:
    """How far a text has been read, to know how long its prompt was when a later call asks."""

    def __init__(self) -> None:
        self._prompt = self._end = 0

    def prompt(self, past: int, end: int) -> int:
        """Length of the prompt of the text of which a call reads the tokens from `past` up to `end`."""
        if past == 0 or past != self._end:  # another text, or one that goes on from a saved state
            self._prompt = end
        self._end = end
        return self._prompt


def selections(
    model: HookedModel,
    at: SiteLike | Iterable[SiteLike],
    heads: Sequence[int] | int | None = None,
    units: Sequence[int] | int | None = None,
    when: When | None = None,
) -> list[Selection]:
    """The selections that places mean: sites as in `Ablate`, or hook names, globs and tails as in ``model.points``.

    Raises:
        InputError: a site that the model lacks, heads named twice or for a site that names its own.
        HookNameError: a hook name matches nothing.
    """
    found: dict[str, Selection] = {}
    for item in [at] if isinstance(at, str | Site) else list(at):
        site = _as_site(item)
        names = model.points.select(str(item)) if site is None else site.hook_names(model)
        own = range(site.start, site.stop) if site is not None and site.part == "heads" else None
        if own is not None and heads is not None:
            raise InputError(f"{site} names its heads; heads= is for hook names.")
        chosen = _numbers("heads", heads) if own is None else tuple(own)
        for name in names:
            before = found.get(name)
            if before is None:
                found[name] = Selection(name, chosen, _numbers("units", units), when or When())
            elif before.heads is None or chosen is None or set(before.heads) & set(chosen):
                raise InputError(f"{item} names a part of {name} a second time; each place is changed once.")
            else:
                found[name] = replace(before, heads=before.heads + chosen)
    if not found:
        raise InputError("There is nothing to change: the list of places is empty.")
    return list(found.values())


def head_axis(hook: HookPoint) -> int | None:
    """The axis of heads (or of the groups that share keys) of a hook's tensor, or None."""
    return next((axis for axis, name in enumerate(hook.axes) if name in HEAD_AXES), None)


def time_axis(hook: HookPoint) -> int:
    """The axis of positions of the tensor of a hook that fires once a run."""
    return next(axis for axis, name in enumerate(hook.axes) if name in TIME_AXES)


def _as_site(item: SiteLike) -> Site | None:
    if isinstance(item, Site):
        return item
    try:
        return Site.parse(item)
    except InputError:
        return None  # then it is a hook name, and the hook table has the better message


def _numbers(what: str, numbers: Sequence[int] | int | None) -> tuple[int, ...] | None:
    if numbers is None:
        return None
    listed = (numbers,) if isinstance(numbers, int) else tuple(int(number) for number in numbers)
    if not listed or min(listed) < 0:
        raise InputError(f"{what} are whole numbers from 0, at least one; got {list(listed)}.")
    return listed


def _chosen(numbers: Sequence[int], size: int, hook: HookPoint) -> Bool[Tensor, " size"]:
    if max(numbers) >= size:
        raise InputError(f"{hook.name} has numbers 0 to {size - 1} there, not {max(numbers)}.")
    chosen = torch.zeros(size, dtype=torch.bool)
    chosen[list(numbers)] = True
    return chosen


def _along(flags: Bool[Tensor, " n"], dims: int, axis: int) -> Bool[Tensor, ...]:
    shape = [1] * dims
    shape[axis] = len(flags)
    return flags.reshape(shape)
