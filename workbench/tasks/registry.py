"""Names of the built-in tasks, and what each of them is and can be asked for; a name is given away once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from workbench.errors import InputError, offer
from workbench.tasks.base import Task

Generator = TypeVar("Generator", bound=Callable[..., Task])


@dataclass(frozen=True)
class TaskOption:
    """One thing a generator can be asked for.

    Attributes:
        name: keyword of `make_task`.
        default: its value where nothing is asked; None, too, where `required`.
        required: whether there is no default.
        kind: its annotation, as written: ``"int"``, ``"bool | int | None"``.
        text: what the generator's docstring says of it.
    """

    name: str
    default: Any
    required: bool
    kind: str
    text: str


@dataclass(frozen=True)
class TaskDescription:
    """What a task is.

    Attributes:
        name: what `make_task` knows it by.
        summary: the first sentence of its generator's docstring.
        measures: what it is for, in a few words.
        text: the whole docstring.
        options: all but the vocabulary.
    """

    name: str
    summary: str
    measures: str
    text: str
    options: tuple[TaskOption, ...]

    def table(self) -> pd.DataFrame:
        """One row an option: option, kind, default, text."""
        rows = [
            {
                "option": option.name,
                "kind": option.kind,
                "default": "required" if option.required else repr(option.default),
                "text": option.text,
            }
            for option in self.options
        ]
        return pd.DataFrame(rows, columns=["option", "kind", "default", "text"])


_TASKS: dict[str, Callable[..., Task]] = {}
_MEASURES: dict[str, str] = {}


def register_task(name: str, *, measures: str = "") -> Callable[[Generator], Generator]:
    """Decorator: offer a generator under `name`; `measures` says in a few words what it is for.

    Raises:
        ValueError: another generator has that name.
    """

    def add(generator: Generator) -> Generator:
        taken = _TASKS.get(name)
        if taken is not None and taken is not generator:
            raise ValueError(f"The task name {name!r} belongs to {taken.__module__}.{taken.__qualname__} already.")
        _TASKS[name] = generator
        _MEASURES[name] = measures
        return generator

    return add


def task_names() -> list[str]:
    """Names that `make_task` knows, sorted."""
    return sorted(_TASKS)


def make_task(name: str, /, *args: Any, **options: Any) -> Task:
    """Call the generator registered under `name`; the vocabulary comes first.

    Raises:
        InputError: no task has that name (the message lists the nearest ones), or it has no such option, or needs one
            that is missing.
    """
    generator = _generator(name)
    signature = inspect.signature(generator)
    unknown = [option for option in options if option not in signature.parameters]
    if unknown:
        known = list(signature.parameters)[1:]
        raise InputError(f"Task {name!r} has no option {unknown[0]!r}; {offer(unknown[0], known)}.")
    try:
        signature.bind(*args, **options)
    except TypeError as problem:
        raise InputError(f"Task {name!r}: {problem}.") from None
    return generator(*args, **options)


def describe_task(name: str) -> TaskDescription:
    """What a task is, measures and can be asked for, from its generator's docstring and signature.

    Raises:
        InputError: no task has that name; the message lists the nearest ones.
    """
    generator = _generator(name)
    text = inspect.getdoc(generator) or ""
    said = _arguments(text)
    options = tuple(
        TaskOption(
            parameter.name,
            None if parameter.default is parameter.empty else parameter.default,
            parameter.default is parameter.empty,
            _kind(parameter.annotation),
            said.get(parameter.name, ""),
        )
        # The first parameter is the vocabulary, which is not an option: every task has it.
        for parameter in list(inspect.signature(generator).parameters.values())[1:]
    )
    paragraph = " ".join(text.split("\n\n")[0].split())
    return TaskDescription(name, paragraph, _MEASURES[name], text, options)


def task_table() -> pd.DataFrame:
    """One row a task: task, summary, measures."""
    every = [describe_task(name) for name in task_names()]
    rows = [{"task": each.name, "summary": each.summary, "measures": each.measures} for each in every]
    return pd.DataFrame(rows, columns=["task", "summary", "measures"])


def _generator(name: str) -> Callable[..., Task]:
    if name not in _TASKS:
        raise InputError(f"No task is called {name!r}; {offer(name, task_names(), '`workbench task list`')}.")
    return _TASKS[name]


def _kind(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "Any"
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _arguments(docstring: str) -> dict[str, str]:
    """The entries of a docstring's ``Args:`` section, each on one line."""
    section = re.search(r"^Args:\n((?:    .*\n|\n)+)", f"{docstring}\n", flags=re.MULTILINE)
    if section is None:
        return {}
    entries = re.split(r"^    (?=\S)", section[1], flags=re.MULTILINE)
    found = {}
    for entry in entries:
        names, colon, text = entry.partition(":")
        if colon:
            for name in names.split(","):
                found[name.strip()] = " ".join(text.split())
    return found
