"""The part of a tensor that an intervention changes: at a hook, some heads, some units, some positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from workbench.errors import HookNameError, InputError
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
        asked: the spelling that it was asked for by.
    """

    name: str
    heads: tuple[int, ...] | None = None
    units: tuple[int, ...] | None = None
    when: When = field(default_factory=When)
    asked: str = field(default="", compare=False)

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
    layers: Sequence[int] | int | None = None,
) -> list[Selection]:
    """The selections that places mean, place by place in the order of the forward pass.

    This is the one reading of where something is, in every function with an `at`: sites as in `Ablate` (``"L2H1"``,
    ``"L0.mlp"``), or what ``model.points.select`` takes: short names (``"resid_post"``, ``"z"``, ``"state"``), tails
    (``"mixer.hook_out"``), whole names and aliases, globs.

    Args:
        layers: which layers of short names, tails and globs; None for every layer that has the hook. Sites and whole
            names have a layer of their own.

    Raises:
        InputError: a site that the model lacks, heads named twice or for a site that names its own, no layer or one
            given twice.
        HookNameError: a hook name matches nothing, or nothing in one of the listed layers.
    """
    numbers = None if layers is None else _layers(model, [layers] if isinstance(layers, int) else list(layers))
    found: dict[str, Selection] = {}
    for item in [at] if isinstance(at, str | Site) else list(at):
        site = _as_site(item)
        names = _in_layers(model, str(item), numbers) if site is None else site.hook_names(model)
        own = range(site.start, site.stop) if site is not None and site.part == "heads" else None
        if own is not None and heads is not None:
            raise InputError(f"{site} names its heads; heads= is for hook names.")
        chosen = _numbers("heads", heads) if own is None else tuple(own)
        for name in names:
            before = found.get(name)
            if before is None:
                found[name] = Selection(name, chosen, _numbers("units", units), when or When(), str(item))
            elif before.heads is None or chosen is None or set(before.heads) & set(chosen):
                raise InputError(f"{item} names a part of {name} a second time; each place is given once.")
            else:
                found[name] = replace(before, heads=before.heads + chosen)
    if not found:
        raise InputError("The list of places is empty; name at least one hook or site.")
    return list(found.values())


def _layers(model: HookedModel, listed: list[int]) -> list[int]:
    if not listed:
        raise InputError("The list of layers is empty; None means every layer.")
    numbers = [model.layer_index(layer) for layer in listed]
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise InputError(f"Layer {twice} is given twice.")
    return numbers


def _in_layers(model: HookedModel, item: str, numbers: list[int] | None) -> list[str]:
    """The hooks that a name means, in the listed layers where it does not name its own."""
    names = model.points.select(item)
    if numbers is None or item in model.points or not any(name.startswith("blocks.") for name in names):
        return names
    by_layer = {number: [name for name in names if name.startswith(f"blocks.{number}.")] for number in numbers}
    without = next((number for number, there in by_layer.items() if not there), None)
    if without is not None:
        raise HookNameError(f"Layer {without} of {model.cfg.model_name} has no {item!r}; model.hook_names lists all.")
    return [name for name in names if any(name in there for there in by_layer.values())]


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
