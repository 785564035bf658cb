"""Hooks that act at chosen steps of a recurrence, so that the other steps need not be taken one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from torch import Tensor

from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.hooks import HookPoint


class AtSteps:
    """A hook on ``hook_state`` that is called at chosen steps only; `at_steps` makes one.

    Attributes:
        function: the hook itself.
        steps: when it is called, counted from the start of the prompt, padding and all.
        met: the steps at which it has been called.
    """

    def __init__(self, function: Callable[[Tensor, HookPoint], Tensor | None], steps: frozenset[int]) -> None:
        self.function = function
        self.steps = steps
        self.met: set[int] = set()

    def __repr__(self) -> str:
        return f"at_steps({self.function!r}, {sorted(self.steps)})"

    def __call__(self, tensor: Tensor, hook: HookPoint) -> Tensor | None:
        return self.function(tensor, hook) if self.meets(hook.step) else None

    def meets(self, step: int | None) -> bool:
        """Whether the hook is to be called at this step, which then counts as met."""
        if step is None or step not in self.steps:
            return False
        self.met.add(step)
        return True

    def between(self, first: int, end: int) -> set[int]:
        """The steps from `first` up to `end` at which it is to be called."""
        return {step for step in self.steps if first <= step < end}

    @property
    def missed(self) -> list[int]:
        """Steps that it was to be called at and was not."""
        return sorted(self.steps - self.met)

    def again(self) -> AtSteps:
        """The same hook for another run, which has met no step."""
        return AtSteps(self.function, self.steps)


class EverySoManySteps(AtSteps):
    """A hook on ``hook_state`` that is called at steps ``every - 1``, ``2 * every - 1``, ..., to the end of a run."""

    def __init__(self, function: Callable[[Tensor, HookPoint], Tensor | None], every: int) -> None:
        super().__init__(function, frozenset())
        self.every = every

    def __repr__(self) -> str:
        return f"EverySoManySteps({self.function!r}, {self.every})"

    def meets(self, step: int | None) -> bool:
        return step is not None and step % self.every == self.every - 1

    def between(self, first: int, end: int) -> set[int]:
        return set(range(first + (self.every - 1 - first) % self.every, end, self.every))

    def again(self) -> EverySoManySteps:
        return EverySoManySteps(self.function, self.every)


def at_steps(function: Callable[[Tensor, HookPoint], Tensor | None], steps: int | Iterable[int]) -> AtSteps:
    """A hook that reads or edits the recurrent state at chosen steps, for wherever a hook function is taken.

    A plain function on ``hook_state`` is called after every step, and so every step is taken on its own. Where all that
    listen to a layer's states say when, the steps between run fused, as if nobody listened:

        model.run_with_hooks(tokens, fwd_hooks=[("blocks.3.mixer.hook_state", at_steps(edit, 300))])

    Args:
        function: ``function(state, hook)``; ``hook.step`` is the step.
        steps: one step or several, counted from the start of the prompt (padding included, and on through decoding).
            A step that a run with this hook never comes to is an error.

    Raises:
        InputError: the function is none, no step is given, or a step is no whole number from 0 on.
    """
    if not callable(function):
        raise InputError(f"at_steps takes a function (tensor, hook) and its steps, not {type(function).__name__}.")
    listed = [steps] if isinstance(steps, int) else list(steps)
    wrong = [step for step in listed if isinstance(step, bool) or not hasattr(step, "__index__") or int(step) < 0]
    if wrong or not listed:
        raise InputError(
            f"Steps are whole numbers that count from 0 at the start of the prompt, at least one; got {listed}."
        )
    return AtSteps(function, frozenset(int(step) for step in listed))
