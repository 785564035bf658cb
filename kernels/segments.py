"""A run in segments: the steps at which a caller reads or replaces the state one by one, all others at full speed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from workbench.kernels.forms import Delta, DiagonalDecay, RecurrentForm, ScalarDecay, Toeplitz
from workbench.kernels.precision import compute_dtype

AnyRecurrent = TypeVar("AnyRecurrent", ScalarDecay, DiagonalDecay, Delta, Toeplitz, RecurrentForm)
Result = tuple[Tensor, Tensor]

# What a form holds once a head and not once a step.
_TIMELESS = ("rate", "kernel")


def checked_steps(at: Iterable[int], time: int) -> list[int]:
    """The chosen steps in order, each once.

    Raises:
        ValueError: one lies outside ``0 .. time - 1``.
    """
    steps = sorted({int(step) for step in at})
    if steps and not 0 <= steps[0] <= steps[-1] < time:
        wrong = steps[0] if steps[0] < 0 else steps[-1]
        raise ValueError(f"step {wrong} is not in this run, whose steps go from 0 to {time - 1}")
    return steps


def segments(steps: list[int], time: int) -> Iterator[tuple[slice, bool]]:
    """Cut ``range(time)`` into spans that are chosen (neighbours among `steps`) or not, in order, none empty."""
    done = index = 0
    while index < len(steps):
        first = last = steps[index]
        while index < len(steps) and steps[index] <= last + 1:
            last = steps[index]
            index += 1
        if first > done:
            yield slice(done, first), False
        yield slice(first, last + 1), True
        done = last + 1
    if done < time:
        yield slice(done, time), False


def during(form: AnyRecurrent, span: slice) -> AnyRecurrent:
    """Some steps of a form, as views."""
    operands: dict[str, Any] = {field.name: getattr(form, field.name) for field in fields(form)}
    cut = {name: x[:, span] for name, x in operands.items() if x is not None and name not in _TIMELESS}
    return replace(form, **cut)


def iterate(
    form: RecurrentForm,
    initial_state: Tensor | None,
    on_state: Callable[[int, Tensor], Tensor | None],
    steps: list[int],
    between: Callable[[RecurrentForm, Tensor | None], Result],
    stepwise: Callable[[RecurrentForm, Tensor | None, Callable[[int, Tensor], Tensor | None]], Result],
) -> Result:
    """Outputs and final state of a form without `read` and `diagonal`.

    Args:
        on_state: as in `workbench.kernels.iterate`; called at `steps` only.
        steps: as `checked_steps` gives them.
        between: runs the segments in which nobody looks.
        stepwise: runs those in which somebody does.
    """
    outputs, state = [], initial_state
    for span, chosen in segments(steps, form.time):
        part = during(form, span)
        if chosen:

            def show(step: int, state: Tensor, first: int = span.start) -> Tensor | None:
                return on_state(first + step, state)

            out, state = stepwise(part, state, show)
        else:
            out, state = between(part, state)
        outputs.append(out)
    if state is None or not outputs:  # no step at all
        return between(form, initial_state)
    return (torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]), state


def state_dtype(form: RecurrentForm, initial_state: Tensor | None) -> torch.dtype:
    """The dtype that states are kept in: float32, or float64 when an operand is."""
    operands = [getattr(form, field.name) for field in fields(form)]
    return compute_dtype(*operands, initial_state)
