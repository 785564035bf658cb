"""Commands that take a group of options as one value: the fields of a dataclass, each an option of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar

import typer

Command = TypeVar("Command", bound=Callable[..., Any])


class Commands(typer.Typer):
    """A group of commands. A parameter that is a dataclass is shown as its fields, and handed over whole."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Command], Command]:
        """See `typer.Typer.command`."""
        register = super().command(name, **settings)

        def registered(command: Command) -> Command:
            register(unfolded(command))
            return command

        return registered


def unfolded(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with the fields of every dataclass it takes in the place of the dataclass."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            parameters += inspect.signature(group, eval_str=True).parameters.values()
        else:
            parameters.append(parameter)

    @wraps(command)
    def made(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    shown: Any = made
    shown.__signature__ = signature.replace(parameters=parameters)
    return made
