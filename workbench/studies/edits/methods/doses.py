"""What options of methods may hold: numbers that are doses, and where replacements come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.studies.inputs.prompt import Prompt

Source: TypeAlias = Literal["discover", "all"]
"""Prompts that replacements are taken from: those to find things with (every prompt, where there is no split), or all
of the study's."""

Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]


def serving(prompts: Sequence[Prompt], source: Source) -> list[Prompt]:
    """The prompts that replacements are taken from."""
    return [prompt for prompt in prompts if source == "all" or prompt.split in (source, "all")]


def listed(dose: float | list[float]) -> list[float]:
    """The doses of a method, each once."""
    return list(dict.fromkeys(float(one) for one in (dose if isinstance(dose, list) else [dose])))


def only(dose: float | list[float]) -> float:
    """The dose of a method that has one. Raises InputError for several: each is an edit of its own (`doses`)."""
    found = listed(dose)
    if len(found) != 1:
        raise InputError(f"An edit has one dose, not {len(found)}.")
    return found[0]


def refuse_patterns(point: HookPoint, method: str) -> None:
    """Raise InputError where positions are rows of different lengths, which have nothing in common to average."""
    if "source" in point.axes and "time" in point.axes:
        raise InputError(f"{point.name} is a row of another length at every position, which {method} cannot average.")
