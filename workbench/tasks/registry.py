"""Names of the built-in tasks; a name is given away once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from workbench.errors import InputError, nearest
from workbench.tasks.base import Task

Generator = TypeVar("Generator", bound=Callable[..., Task])

_TASKS: dict[str, Callable[..., Task]] = {}


def register_task(name: str) -> Callable[[Generator], Generator]:
    """Decorator: offer a generator under `name`.

    Raises:
        ValueError: another generator has that name.
    """

    def add(generator: Generator) -> Generator:
        taken = _TASKS.get(name)
        if taken is not None and taken is not generator:
            raise ValueError(f"The task name {name!r} belongs to {taken.__module__}.{taken.__qualname__} already.")
        _TASKS[name] = generator
        return generator

    return add


def task_names() -> list[str]:
    """Names that `make_task` knows, sorted."""
    return sorted(_TASKS)


def make_task(name: str, /, *args: Any, **options: Any) -> Task:
    """Call the generator registered under `name`.

    Raises:
        InputError: no task has that name; the message lists the nearest ones.
    """
    if name not in _TASKS:
        close = ", ".join(nearest(name, _TASKS) or task_names())
        raise InputError(f"No task is called {name!r}; there is: {close}.")
    return _TASKS[name](*args, **options)
