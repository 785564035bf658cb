"""How large the tensors at hooks are, found by running two tokens."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.interventions.selection import HEAD_AXES
from workbench.model import HookedModel

_known: weakref.WeakKeyDictionary[HookedModel, dict[str, tuple[int, ...]]] = weakref.WeakKeyDictionary()


def sizes(model: HookedModel, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Sizes of the tensors at hooks, in the order of their axes, for one sequence of two tokens.

    Raises:
        HookNeverFiredError: the forward pass does not go through one of them.
    """
    known = _known.setdefault(model, {})
    names = list(names)
    missing = [name for name in names if name not in known]
    if missing:
        seen: dict[str, tuple[int, ...]] = {}

        def note(tensor: Tensor, hook: HookPoint) -> None:
            seen[hook.name] = tuple(tensor.shape)

        tokens = torch.zeros(1, 2, dtype=torch.long, device=model.cfg.device)
        with torch.no_grad():
            model.run_with_hooks(tokens, fwd_hooks=[(name, note) for name in missing], return_type=None)
        known.update(seen)
    return {name: known[name] for name in names}


def count_heads(model: HookedModel, name: str) -> int:
    """Heads (or groups that share keys) of a hook. Raises InputError for a hook without an axis of heads."""
    return _count(model, name, HEAD_AXES, "heads")


def count_keys(model: HookedModel, name: str) -> int:
    """Numbers along the axis of keys of a hook. Raises InputError for a hook without one."""
    return _count(model, name, ("key",), "keys")


def count_units(model: HookedModel, name: str) -> int:
    """Numbers along the last axis of a hook."""
    return sizes(model, [name])[name][-1]


def numbers(asked: Sequence[int] | str | None, count: int, what: str) -> list[int]:
    """Numbers from 0, ascending; all where ``"all"`` or nothing is asked for, negative ones from the end.

    Raises:
        InputError: one that is not there, or none.
    """
    if asked is None or isinstance(asked, str):
        return list(range(count))
    outside = [one for one in asked if not -count <= one < count]
    if outside or not asked:
        wrong = f"number {outside[0]} is asked for" if outside else "none is asked for"
        raise InputError(f"{what} has numbers 0 to {count - 1}, and {wrong}.")
    return sorted({one % count for one in asked})


def _count(model: HookedModel, name: str, axes: Sequence[str], what: str) -> int:
    own = model.points[name].axes
    axis = next((i for i, axis in enumerate(own) if axis in axes), None)
    if axis is None:
        raise InputError(f"{name} has no axis of {what}: its axes are {', '.join(own)}.")
    return sizes(model, [name])[name][axis]
