"""A task by its name, on a model: the numbers with their intervals, once or over a grid of sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, product
from typing import Any

import pandas as pd

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookFunction, NamesFilter
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.tasks.base import Task
from workbench.tasks.metrics import score_model, scores_table
from workbench.tasks.registry import make_task


@checked_call
def evaluate(
    model: HookedModel,
    name: str,
    /,
    *,
    fwd_hooks: Sequence[tuple[NamesFilter, HookFunction]] = (),
    batch_size: int | None = None,
    level: float = 0.95,
    seeds: Sequence[int] | None = None,
    progress: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Make a task for a model, run it and score it.

    Args:
        model: a hooked model; the task draws from its vocabulary and may not be longer than its context.
        name: of the task; see `task_names`.
        fwd_hooks: as in ``model.run_with_hooks``: what a task costs under an intervention.
        batch_size: sequences a forward pass; all at once by default.
        level: coverage of the intervals.
        seeds: one batch a seed, whose sequences count together; None for one batch of the task's own seed.
        progress: whether to draw a bar.
        **options: of the task, such as ``batch`` and ``seed``; see `describe_task`.

    Returns:
        One row a kind of position and measure, as `TaskScores.table` gives them.

    Raises:
        InputError: no such task or option, an option out of range, a task longer than the model's context, both `seeds`
            and a ``seed``, or no seeds.
    """
    tasks = _made(model, name, seeds, options)
    return scores_table(
        [
            score_model(model, task, fwd_hooks=fwd_hooks, batch_size=batch_size)
            for task in tracked(tasks, progress, name)
        ],
        level=level,
    )


@checked_call
def sweep(
    model: HookedModel,
    name: str,
    /,
    *,
    over: Mapping[str, Sequence[Any]],
    fwd_hooks: Sequence[tuple[NamesFilter, HookFunction]] = (),
    batch_size: int | None = None,
    level: float = 0.95,
    seeds: Sequence[int] | None = None,
    progress: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """`evaluate` at every combination of some options, such as ``over={"pairs": [4, 8, 16]}``.

    Every task is made before the first one is run, so that a size that does not fit is known at once.

    Args:
        model, name, fwd_hooks, batch_size, level, seeds: as for `evaluate`.
        over: the values of each option that varies; the last one varies fastest.
        progress: whether to draw a bar.
        **options: those that stay the same.

    Returns:
        As `evaluate`, with a column in front for every option that varies.

    Raises:
        InputError: nothing varies, an option both varies and stays, or as `evaluate`.
    """
    if not over or not all(len(values) for values in over.values()):
        raise InputError('over names no values to sweep; give some, such as {"batch": [8, 16]}.')
    both = sorted(set(over) & set(options))
    if both:
        raise InputError(f"{both[0]} is swept over and given a value of its own; leave one of the two out.")
    points = [dict(zip(over, values, strict=True)) for values in product(*over.values())]
    tasks = [_made(model, name, seeds, {**options, **point}) for point in points]
    shown = tracked([task for made in tasks for task in made], progress, name)
    parts = []
    for point, made in zip(points, tasks, strict=True):
        scores = [
            score_model(model, task, fwd_hooks=fwd_hooks, batch_size=batch_size) for task in islice(shown, len(made))
        ]
        table = scores_table(scores, level=level)
        for place, (option, value) in enumerate(point.items()):
            # A list (several options in one value) would be spread over the rows; its words are what a table can hold.
            table.insert(place, option, value if isinstance(value, int | float | str) else str(value))
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _made(model: HookedModel, name: str, seeds: Sequence[int] | None, options: Mapping[str, Any]) -> list[Task]:
    """One task, or one a seed."""
    if seeds is None:
        return [make_task(name, model, **options)]
    if not len(seeds) or "seed" in options:
        raise InputError("seeds are one or several numbers, and take the place of seed.")
    return [make_task(name, model, seed=seed, **options) for seed in seeds]
