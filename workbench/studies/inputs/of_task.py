"""Prompts of a built-in task: rows without their padding, with the slots that count."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, offer
from workbench.studies.inputs.prompt import Prompt
from workbench.tasks import NOT_SCORED, Task, make_task
from workbench.tasks.registry import describe_task

if TYPE_CHECKING:
    from workbench.model import HookedModel
    from workbench.studies.schema.study import TaskInputs

# Added to the seed of a task for the draw that corrupt prompts come from: far from the seeds that people count up.
_OTHER_DRAW = 1_000_003
# Sequences of the other draw for each prompt: those of word tasks differ in length, and one that fits is wanted.
_CHOICE = 4


def task_prompts(inputs: TaskInputs, model: HookedModel, seed: int) -> list[Prompt]:
    """One prompt a sequence of the task; each is a group of its own.

    The corrupt prompt is a sequence of another draw that is as long and scored at the same positions.

    Raises:
        InputError: no such task, option or label, or what the task refuses.
    """
    options = {option.name for option in describe_task(inputs.task).options}
    settings: dict[str, Any] = dict(inputs.settings)
    if "batch" in options:
        settings["batch"] = inputs.count
    task = make_task(inputs.task, model, **settings, **({"seed": seed} if "seed" in options else {}))
    wanted = _labels(task, inputs.labels)
    prompts = [_prompt(task, row, wanted) for row in range(task.batch)]
    prompts = [prompt for prompt in prompts if prompt.scored][: inputs.count]
    if not prompts:
        raise InputError(f"Task {inputs.task!r} scores nothing with these settings.")
    if "seed" not in options:
        return prompts
    if "batch" in options:
        settings["batch"] = _CHOICE * inputs.count
    other = make_task(inputs.task, model, **settings, seed=seed + _OTHER_DRAW)
    return _paired(prompts, [_prompt(other, row, wanted) for row in range(other.batch)])


def _labels(task: Task, wanted: list[str] | None) -> set[int]:
    missing = [label for label in wanted or [] if label not in task.label_names]
    if missing:
        raise InputError(
            f"Task {task.name!r} scores no positions called {missing[0]!r}; {offer(missing[0], task.label_names)}."
        )
    names = task.label_names if wanted is None else wanted
    return {number for number, name in enumerate(task.label_names) if name in names}


def _prompt(task: Task, row: int, wanted: set[int]) -> Prompt:
    pads = 0 if task.mask is None else int((task.mask[row] == 0).sum())
    labels = task.labels[row].tolist()
    slots = [slot for slot, label in enumerate(labels) if label != NOT_SCORED and label in wanted]
    positions, answers, sources = (values[row].tolist() for values in (task.positions, task.answers, task.sources))
    slots.sort(key=lambda slot: positions[slot])
    wrong = None if task.distractors is None else task.distractors[row].tolist()
    foils = () if wrong is None else tuple(tuple(token for token in wrong[slot] if token >= 0) for slot in slots)
    return Prompt(
        tokens=tuple(task.tokens[row].tolist()[pads:]),
        scored=tuple(positions[slot] - pads for slot in slots),
        answers=tuple(answers[slot] for slot in slots),
        foils=foils if any(foils) else (),
        sources=tuple(sources[slot] - pads if sources[slot] >= 0 else -1 for slot in slots),
        group=str(row),
    )


def _paired(prompts: list[Prompt], others: list[Prompt]) -> list[Prompt]:
    """Prompts with the first unused prompt of the other draw that fits; some may stay without."""
    free: dict[tuple[int, tuple[int, ...]], list[Prompt]] = {}
    for other in others:
        free.setdefault((len(other.tokens), other.scored), []).append(other)
    found = []
    for prompt in prompts:
        fitting = free.get((len(prompt.tokens), prompt.scored), [])
        place = next((i for i, other in enumerate(fitting) if other.tokens != prompt.tokens), None)
        corrupt = None if place is None else fitting.pop(place).tokens
        found.append(replace(prompt, corrupt=corrupt))
    return found
