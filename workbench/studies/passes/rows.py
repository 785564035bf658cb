"""Hooks that were written for one row, restricted to their rows of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint, HookPoints
from workbench.steps import AtSteps

Hooks = Sequence[tuple[str, HookFunction]]


def stacked(points: HookPoints, rows: Sequence[Hooks]) -> list[tuple[str, HookFunction]]:
    """The hooks of a batch, one function a hook point, from the hooks that each of its rows is to have.

    Each function of a row is shown that row alone, ``[1, ...]``, after the row's functions before it. The others pass
    as they are. Where every function at a point says at which steps it is called (see `workbench.steps.AtSteps`), so
    does what they make together.

    Raises (when they run):
        InputError: a tensor has not as many rows, because a family makes one of it for the whole batch.
    """
    by_point: dict[str, list[tuple[int, HookFunction]]] = {}
    for row, hooks in enumerate(rows):
        for pattern, function in hooks:
            for name in points.select(pattern):
                again = function.again() if isinstance(function, AtSteps) else function
                by_point.setdefault(name, []).append((row, again))
    made: list[tuple[str, HookFunction]] = []
    for name, members in by_point.items():
        steps = [function for _, function in members if isinstance(function, AtSteps)]
        together = _together(members, len(rows))
        made.append((name, StackedSteps(together, steps) if len(steps) == len(members) else together))
    return made


class StackedSteps(AtSteps):
    """Hooks on ``hook_state`` of several rows, called at the steps of any of them.

    Attributes:
        members: the rows' own hooks, which `function` calls.
    """

    def __init__(self, function: Callable[[Tensor, HookPoint], Tensor | None], members: Sequence[AtSteps]) -> None:
        super().__init__(function, frozenset().union(*(member.steps for member in members)))
        self.members = members

    def meets(self, step: int | None) -> bool:
        return step is not None and bool(self.between(step, step + 1))

    def between(self, first: int, end: int) -> set[int]:
        return set().union(*(member.between(first, end) for member in self.members))

    @property
    def missed(self) -> list[int]:
        """Steps that a row's hook was to be called at and was not."""
        return sorted({step for member in self.members for step in member.missed})

    def again(self) -> StackedSteps:
        """Itself: its members are of one run, for which `stacked` makes them."""
        return self


def _together(members: Sequence[tuple[int, HookFunction]], rows: int) -> Callable[[Tensor, HookPoint], Tensor]:
    def edit(tensor: Tensor, hook: HookPoint) -> Tensor:
        if len(tensor) != rows:
            raise InputError(f"{hook.name} shows {len(tensor)} rows for a batch of {rows}, so no row has its own.")
        copy = tensor.clone()  # once, however many rows are edited
        for row, function in members:
            shown = copy[row : row + 1]
            edited = function(shown, hook)
            if edited is not None:
                shown.copy_(hook.checked(edited, shown))
        return copy

    return edit
